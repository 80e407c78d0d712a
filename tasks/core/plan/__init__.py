"""What a server holds, what it shall hold, and what leads from one to the other."""
