"""Training of DICE-Talk's emotion priors for the mesh engine and for svd (arXiv 2504.18087)."""
