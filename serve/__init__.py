"""Artifact to answers. The HTTP service is not part of this version."""
