"""Nodes that run."""
