"""mien changes what a face feels in a video, offline, on a CPU."""

__version__ = "0.1.0"
