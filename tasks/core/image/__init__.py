"""Deciding what an image will be, before anything of it is made."""
