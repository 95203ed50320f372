"""Every statement of the identity room, by noun."""
