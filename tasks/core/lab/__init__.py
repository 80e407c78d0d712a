"""A node as a virtual machine, served by real servers in namespaces."""
