"""The command line; one module per command."""

from mien.cli.app import main

__all__ = ["main"]
