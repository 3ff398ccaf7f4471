"""DICE-Talk as published: Stable Video Diffusion with two more streams of cross attention."""
