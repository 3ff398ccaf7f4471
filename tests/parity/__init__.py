"""Recorded outputs of the published networks against this project's, on weights made from names.

``make parity GOLDEN=DIR SEED=N`` runs every case whose file is in DIR.
"""
