"""DICE-Talk as published (arXiv 2504.18087): Stable Video Diffusion with audio and emotion."""
