"""BMCs: power of nodes, what they boot from next, and their consoles."""
