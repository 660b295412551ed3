"""Where the files that ship with the packages lie: beside them, in a clone as in a wheel.

Nothing in, a folder out; no file is opened. Users put nothing there but into a clone.
"""

from pathlib import Path

import runtime

ROOT = Path(runtime.__file__).resolve().parents[1]  # the clone, or site-packages
CHECKPOINTS = ROOT / "checkpoints"  # demo, and in a clone whatever else it has
