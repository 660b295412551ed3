"""Tensor-to-tensor building blocks; attribute names are the official checkpoints' names."""
