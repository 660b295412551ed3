"""Depth Anything V2: upstream's import path and API on our own layers."""
