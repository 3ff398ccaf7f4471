"""Training of the articulator; needs the extra ``train``."""
