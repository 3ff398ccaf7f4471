"""The papers' evaluation protocols: pairs, rendering and metrics."""
