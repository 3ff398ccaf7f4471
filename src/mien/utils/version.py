"""The version of mien."""

__version__ = "0.1.0"
