"""C-MET: from how a voice sounds to how a face changes (arXiv 2604.07786)."""
