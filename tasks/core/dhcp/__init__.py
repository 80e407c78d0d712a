"""DHCP servers, one module for all that is known of each."""
