"""What a boot server keeps: its paths, releases, files, journal."""
