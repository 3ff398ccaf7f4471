"""The papers' protocols: pairs, rendering, and metrics by networks that the user brings."""
