"""Training of the listener; needs the extra ``train``."""
