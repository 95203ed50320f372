"""Every SQL statement of the plans room, by noun."""
