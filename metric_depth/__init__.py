"""The demo checkpoint: scenes that are generated, a training that uses them, and its judge.

torch 1.13 tells mypy that ``tensor > 1`` is a bool and ``2 * tensor`` an int. If a tensor's type
matters to what follows, methods (``tensor.gt(1)``, ``tensor.mul(2)``) stand for operators here.
"""
