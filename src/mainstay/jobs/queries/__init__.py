"""Every SQL statement of the engine, by noun."""
