"""Every SQL statement of the templates room, by noun."""
