"""Who has signed what a server holds."""
