"""Faces: detection, landmarks, tracking, head pose and action units."""
