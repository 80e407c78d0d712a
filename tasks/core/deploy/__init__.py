"""Servers changed: preflight, publishing, deploy, rollback, prune."""
