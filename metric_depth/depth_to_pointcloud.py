"""Depth Anything V2's door for points: ``python metric_depth/depth_to_pointcloud.py --help``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Not this folder, whose files have the names of other packages
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from apps.points import main

    sys.exit(main(upstream=True))
