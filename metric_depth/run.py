"""Depth Anything V2's door for metres: ``python metric_depth/run.py --help``, from any folder."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Not this folder, whose files have the names of other packages
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from apps.run_v2 import main

    sys.exit(main(metric=True))
