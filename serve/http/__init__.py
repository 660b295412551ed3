"""The HTTP service: an artifact to answers."""
