"""What upstream's ``run.py`` and ``run_video.py`` do, around the package's own ``infer_image``.

Started by ``benchmarks.scripts`` in an environment of its own; no code of ours. Photos or a clip
in, pictures of ``run.py`` (the photo beside its depth) or a video out, by the scripts' own steps.
"""

import sys
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from v2_upstream import load

GAP_COLUMNS = 50


def painted(network, raw, size, colours):
    """A picture of the depth of a BGR photo, as both scripts make it."""
    depth = network.infer_image(raw, size)
    depth = (depth - depth.min()) / (depth.max() - depth.min()) * 255.0
    return (colours(depth.astype(np.uint8))[:, :, :3] * 255)[:, :, ::-1].astype(np.uint8)


def beside(raw, picture):
    """Both, with white between them."""
    gap = np.ones((raw.shape[0], GAP_COLUMNS, 3), dtype=np.uint8) * 255
    return cv2.hconcat([raw, gap, picture])


def photos(network, source, output, size, colours):
    """``run.py``."""
    for file in sorted(source.iterdir()):
        raw = cv2.imread(str(file))
        picture = painted(network, raw, size, colours)
        cv2.imwrite(str(output / f"{file.stem}.png"), beside(raw, picture))


def video(network, source, output, size, colours):
    """``run_video.py``."""
    (file,) = source.iterdir()
    reader = cv2.VideoCapture(str(file))
    width, height = int(reader.get(3)), int(reader.get(4))
    writer = cv2.VideoWriter(
        str(output / f"{file.stem}.mp4"),
        cv2.VideoWriter_fourcc(*"mp4v"),
        int(reader.get(5)),
        (2 * width + GAP_COLUMNS, height),
    )
    while True:
        more, raw = reader.read()
        if not more:
            break
        writer.write(beside(raw, painted(network, raw, size, colours)))
    reader.release()
    writer.release()


def main(what, folder, source, output, size, threads):
    """Load, as the scripts do, then all of a folder."""
    torch.set_num_threads(int(threads))
    network = load(Path(folder))
    colours = matplotlib.colormaps.get_cmap("Spectral_r")
    Path(output).mkdir(parents=True, exist_ok=True)
    work = {"photos": photos, "video": video}[what]
    work(network, Path(source), Path(output), int(size), colours)


if __name__ == "__main__":
    main(*sys.argv[1:])
