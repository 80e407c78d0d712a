"""Snapshots of references, one module a kind."""
