"""C-MET (arXiv 2604.07786): from the emotion in a voice to a change of facial expression."""
