"""Depth Anything V2's door for videos: ``python run_video.py --help``."""

import sys

from apps.run_video import main

if __name__ == "__main__":
    sys.exit(main())
