"""The staged root: transforms over Trees, overlays, scrubbing, what disks and services need."""
