"""Every SQL statement of the functions room."""
