"""The same work on servers over ssh."""
