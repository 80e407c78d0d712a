"""Nodes one by one: what each has by the site, and those that run."""
