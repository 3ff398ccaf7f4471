"""Training of the SVD engine: adapters, bank, guider; the authors released none."""
