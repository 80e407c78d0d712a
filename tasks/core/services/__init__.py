"""Files of a server's daemons: checked, put in place, put back; exports(5)."""
