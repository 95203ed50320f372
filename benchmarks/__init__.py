"""Side-by-side measurements: each folder is one command that runs ours beside its floor or peers and prints a ratio."""
