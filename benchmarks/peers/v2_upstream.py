"""Runs the network of the PyPI package ``jkp-depth-anything-v2``, upstream's V2, or exports it.

Started by ``benchmarks.latency`` in an environment of its own; no model code of ours. The package
asks for torchvision to compose its preprocessing, and for nothing else of it, so a stand-in is
enough.
"""

import functools
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from answer import answer


class Compose:
    """Torchvision's."""

    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, sample):
        """One after the other."""
        for transform in self.transforms:
            sample = transform(sample)
        return sample


sys.modules["torchvision"] = types.ModuleType("torchvision")
sys.modules["torchvision.transforms"] = types.ModuleType("torchvision.transforms")
sys.modules["torchvision.transforms"].Compose = Compose

from depth_anything_v2 import dinov2
from depth_anything_v2.dpt import DepthAnythingV2

OPSET = 18


def load(folder: Path) -> DepthAnythingV2:
    """The network that ``model.json`` describes, with the weights beside it."""
    spec = json.loads((folder / "model.json").read_text())
    encoder = spec["encoder"]
    if encoder not in ("vits", "vitb", "vitl"):  # not one of its own: its smallest, resized
        dinov2.vit_small = functools.partial(
            dinov2.DinoVisionTransformer,
            embed_dim=spec["dim"],
            depth=spec["depth"],
            num_heads=spec["heads"],
            mlp_ratio=4,
            block_fn=functools.partial(dinov2.Block, attn_class=dinov2.MemEffAttention),
        )
        encoder = "vits"
    network = DepthAnythingV2(encoder, spec["features"], spec["out_channels"])
    network.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    return network.eval()


def main(mode: str, folder: str, threads: str, output: str) -> None:
    """Answer, or write an ONNX graph of it."""
    torch.set_num_threads(int(threads))
    network = load(Path(folder))
    image = torch.from_numpy(np.load(Path(folder) / "image.npy", allow_pickle=False))
    if mode == "export":
        with torch.no_grad():
            torch.onnx.export(
                network,
                (image,),
                output,
                dynamo=False,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["depth"],
            )
        return

    def call() -> np.ndarray:
        with torch.no_grad():
            return network(image).numpy()

    facts = {"versions": {"torch": torch.__version__}, "threads": torch.get_num_threads()}
    answer(facts, call, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
