"""Recorded outputs of the published networks against ours, on weights made from names alone.

``make parity GOLDEN=DIR SEED=N`` runs every case whose file lies in DIR.
"""
