"""Servers as they are: compared with their manifests, and told."""
