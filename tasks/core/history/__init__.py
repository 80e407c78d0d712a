"""What changed from one release to another, as an admin says it: packages, and texts of /etc."""
