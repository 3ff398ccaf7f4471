"""Training of the connector; needs the extra ``train``."""
