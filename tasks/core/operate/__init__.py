"""Servers and nodes at work: told of as metrics, nodes led to the release that they would boot."""
