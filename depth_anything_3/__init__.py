"""Depth Anything 3: upstream's import path and API on our own layers."""
