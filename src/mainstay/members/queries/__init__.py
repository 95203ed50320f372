"""Every SQL statement of the members room, by noun."""
