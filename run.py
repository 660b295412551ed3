"""Depth Anything V2's door for photos: ``python run.py --help``."""

import sys

from apps.run_v2 import main

if __name__ == "__main__":
    sys.exit(main())
