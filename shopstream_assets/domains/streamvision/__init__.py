"""StreamVision: a video streaming service."""
