"""Upstream's import path for the configurations of its models: name -> YAML file.

``depth_anything_3.config`` has the same numbers, and is what the models are made of.
"""

from collections import OrderedDict
from pathlib import Path

CONFIGS = Path(__file__).resolve().parent / "configs"

# Upstream's seven names, sorted; its newer weights (``-1.1``) are of the same networks.
MODEL_REGISTRY: "OrderedDict[str, str]" = OrderedDict(
    (file.stem, str(file)) for file in sorted(CONFIGS.glob("*.yaml"))
)
