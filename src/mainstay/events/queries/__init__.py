"""Every statement of the events room, by noun."""
