"""What the program `atp` does, one file per command."""
