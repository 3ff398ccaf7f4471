"""Faces: find them, follow them, know how the head is held."""
