"""Weights that others published: what there is, fetching, checking, converting."""
