"""Weights: bundled with the package, or published by others, fetched, converted and verified."""
