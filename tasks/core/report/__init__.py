"""All that was built and found, on one page."""
