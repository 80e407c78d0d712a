"""What knows nothing of nodes: complaints, files, processes, node sets, git, ssh, text."""
