"""Every statement of the accounts room, by noun."""
