"""From files to files: one module per engine and verb."""
