"""Small helpers that every layer may use: numeric curves, devices and precisions."""
