"""MEAD, CREMA-D, RAVDESS, HDTF, manifests and caches: what training and evaluation read."""
