"""Every statement of the webhooks room, by noun."""
