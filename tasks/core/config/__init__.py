"""Generated files: rendered from templates, and checked by their own programs."""
