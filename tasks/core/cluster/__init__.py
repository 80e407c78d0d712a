"""Servers and nodes together as they are, told to machines; nodes led to what they would boot."""
