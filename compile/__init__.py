"""Checkpoint to artifact: the only room that knows both the models and the graph compilers."""
