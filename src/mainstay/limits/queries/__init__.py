"""Every SQL statement of the limits room, by noun."""
