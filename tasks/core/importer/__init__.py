"""Nodes as other programs write them down, made a site.yaml."""
