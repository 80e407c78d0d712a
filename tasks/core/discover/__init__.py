"""Network cards that nobody knows yet, and lines of site.yaml for them."""
