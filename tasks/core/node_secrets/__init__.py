"""Secrets of nodes: known to the machine that deploys, and to each node its own."""
