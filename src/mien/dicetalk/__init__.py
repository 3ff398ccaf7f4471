"""DICE-Talk's emotion model (arXiv 2504.18087) at any size: embedder, bank, discriminator."""
