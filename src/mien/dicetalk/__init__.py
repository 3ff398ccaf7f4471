"""DICE-Talk's ideas (arXiv 2504.18087): embedder, emotion bank, discriminator; at any size."""
