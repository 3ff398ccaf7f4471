"""Training of the nets: one trainer, and one package per net."""
