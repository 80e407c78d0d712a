"""What servers must hold, by a site and a build."""
