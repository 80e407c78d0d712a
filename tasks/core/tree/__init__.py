"""A Tree: paths and entries, its filters, its differences, and it as text."""
