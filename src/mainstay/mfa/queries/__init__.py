"""Every statement of the mfa room, by noun."""
