"""Training of C-MET's connector for the mesh engine and for EDTalk (arXiv 2604.07786)."""
