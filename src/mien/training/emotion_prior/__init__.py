"""Training of embedder, bank and expression decoder at mesh scale; needs the extra ``train``."""
