"""The smallest useful program: a photo in, a picture of its depth beside it.

``python main.py PHOTO``; without one, a photo of input_images/ to the current folder.
"""

import argparse
import sys
from pathlib import Path

from apps.compiled import choose_or_compile
from apps.inference import choose_model
from exports.colour import paint
from exports.png import encode_png
from runtime.command_line import run_command
from runtime.photo.decode import read_photo
from runtime.predict.predictor import Predictor


def draw_depth(args: argparse.Namespace) -> None:
    photo = args.photo or Path("input_images/coffee.png")
    chosen = choose_or_compile(choose_model(ask=False), [photo])
    found = Predictor(chosen.artifacts)(read_photo(photo))
    picture = (args.photo or Path(photo.name)).with_suffix(".depth.png")
    picture.write_bytes(encode_png(paint(found), found.facts()))
    print(picture)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photo", type=Path, nargs="?")
    sys.exit(run_command(parser, draw_depth))
