"""The DHCP servers: one module each."""
