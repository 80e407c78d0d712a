"""The initrd, one module a kind, and what all kinds need."""
