"""The mesh engine: action units move a tracked face mesh, the picture follows."""

from mien.engines.mesh.engine import MeshEngine, MeshSettings

__all__ = ["MeshEngine", "MeshSettings"]
