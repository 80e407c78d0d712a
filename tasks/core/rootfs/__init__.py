"""The staged root: transforms over Trees, overlays, scrubbing, the search for secrets."""
