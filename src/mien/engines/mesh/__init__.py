"""The mesh engine: action units move a tracked face mesh, the picture follows."""
