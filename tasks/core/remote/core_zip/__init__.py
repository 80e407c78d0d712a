"""The zip of the core that travels to servers: made here, used there."""
