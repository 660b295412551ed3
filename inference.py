"""The main job's door: ``python inference.py --help``."""

import sys

from apps.inference import main

if __name__ == "__main__":
    sys.exit(main())
