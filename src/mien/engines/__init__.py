"""Engines: what turns an expression code into pixels."""
