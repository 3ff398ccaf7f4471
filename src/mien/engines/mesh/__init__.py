"""The mesh engine: action units move a tracked face mesh, and the image is warped with it."""

from mien.engines.mesh.engine import MeshEngine, MeshSettings

__all__ = ["MeshEngine", "MeshSettings"]
