"""The app in a browser, where Depth Anything V2 and 3 have it: ``python app.py --help``."""

import sys

from apps.web.gradio_door import main

if __name__ == "__main__":
    sys.exit(main())
