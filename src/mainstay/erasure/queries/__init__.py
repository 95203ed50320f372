"""Every statement of the erasure room."""
