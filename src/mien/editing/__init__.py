"""Editing: from a file or a live stream to the same pictures with another feeling."""
