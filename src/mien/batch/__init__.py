"""Many files at once: rows of a manifest, done once each by several workers."""
