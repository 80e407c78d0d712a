"""Folders that are read: walked, indexed, digested."""
