"""Training of the tracker's nets: detector, face, mouth and eye. Needs the extra ``train``."""
