"""Training of the svd engine (DICE-Talk, arXiv 2504.18087)."""
