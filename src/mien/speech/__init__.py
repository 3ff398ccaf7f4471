"""How a voice sounds: features, the listener, and what it heard."""
