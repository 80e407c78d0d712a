"""Folders that are written: a Tree made real, cloned, compared with its manifest."""
