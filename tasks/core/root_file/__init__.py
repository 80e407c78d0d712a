"""The root file: a staged root as one file, for nodes that fetch it whole."""
