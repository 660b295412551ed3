"""Upstream's import path for what is not a model."""
