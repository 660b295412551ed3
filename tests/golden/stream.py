"""Keep of the references of long sequences what the tests need: ``stream_scene.npz`` beside this.

    python tests/golden/stream.py FOLDER

FOLDER has ``scene.npz``: windows of the room that ``tests/stream_recipe.py`` makes, with noise of
another program's draws, and what that program (numpy, float64) says of them: links, the closing
edge, the closed chain. Truth, cameras and gauges are left out, as the recipe makes them to the last
bit; so is the kind ``white``, whose errors the tests draw anew. ``stream_upstream.npz`` is
``upstream.npz`` of the same folder, whole: what the functions of ``da3_streaming`` of Depth
Anything 3 (commit 2c21ea8) give for inputs whose recipes stand in ``tests/test_stream.py``;
``stream_upstream.json`` is of its JSON file what is tested: windows, loop windows and pose files.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
KINDS = ("smooth", "poor")
KEPT = ["smooth_depth", "smooth_conf", *(f"{kind}_w2c" for kind in KINDS)]
KEPT += [f"{kind}_{what}_{p}" for kind in KINDS for what in ("link", "closed") for p in "sRt"]
FACTS = ("chunks", "loop_ranges", "pose_files", "saved_frames", "pose_chunks")


def main(source: Path) -> None:
    """Write the files beside this script."""
    with np.load(source / "scene.npz") as full:
        np.savez_compressed(HERE / "stream_scene.npz", **{name: full[name] for name in KEPT})
    shutil.copyfile(source / "upstream.npz", HERE / "stream_upstream.npz")
    facts = json.loads((source / "upstream.json").read_text())
    facts = {name: facts[name] for name in FACTS}
    facts["camera_files"] = json.loads((source / "scene.json").read_text())["camera_files"]
    (HERE / "stream_upstream.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
