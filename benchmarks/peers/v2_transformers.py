"""Runs transformers' ``DepthAnythingForDepthEstimation`` on upstream's weights, with torch's sdpa.

Started by ``benchmarks.latency`` in an environment of its own; no model code of ours.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from answer import answer

# upstream's name of a weight -> transformers'; the first that fits. {} are the pattern's groups.
NAMES = (
    (r"pretrained\.(cls_token|mask_token)", "backbone.embeddings.{}"),
    (r"pretrained\.pos_embed", "backbone.embeddings.position_embeddings"),
    (r"pretrained\.patch_embed\.proj\.(\w+)", "backbone.embeddings.patch_embeddings.projection.{}"),
    (r"pretrained\.norm\.(\w+)", "backbone.layernorm.{}"),
    (
        r"pretrained\.blocks\.(\d+)\.attn\.proj\.(\w+)",
        "backbone.encoder.layer.{}.attention.o_proj.{}",
    ),
    (
        r"pretrained\.blocks\.(\d+)\.ls(\d)\.gamma",
        "backbone.encoder.layer.{}.layer_scale{}.lambda1",
    ),
    (r"pretrained\.blocks\.(\d+)\.((?:norm|mlp).+)", "backbone.encoder.layer.{}.{}"),
    (r"depth_head\.projects\.(\d)\.(\w+)", "neck.reassemble_stage.layers.{}.projection.{}"),
    (r"depth_head\.resize_layers\.(\d)\.(\w+)", "neck.reassemble_stage.layers.{}.resize.{}"),
    (r"depth_head\.scratch\.output_conv1\.(\w+)", "head.conv1.{}"),
    (r"depth_head\.scratch\.output_conv2\.0\.(\w+)", "head.conv2.{}"),
    (r"depth_head\.scratch\.output_conv2\.2\.(\w+)", "head.conv3.{}"),
)
QKV = r"pretrained\.blocks\.(\d+)\.attn\.qkv\.(\w+)"
LAYER = r"depth_head\.scratch\.layer(\d)_rn\.(\w+)"  # counted from 1
FUSION = r"depth_head\.scratch\.refinenet(\d)\.(.+)"  # the last is the first to be used


def converted(state: dict) -> dict:
    """Upstream's state dict under transformers' names; queries, keys and values apart."""
    found = {}
    for key, value in state.items():
        if match := re.fullmatch(QKV, key):
            for name, part in zip("qkv", value.chunk(3)):
                layer = f"backbone.encoder.layer.{match[1]}.attention"
                found[f"{layer}.{name}_proj.{match[2]}"] = part
        elif match := re.fullmatch(LAYER, key):
            found[f"neck.convs.{int(match[1]) - 1}.{match[2]}"] = value
        elif match := re.fullmatch(FUSION, key):
            rest = match[2].replace("out_conv", "projection").replace(".conv", ".convolution")
            rest = rest.replace("resConfUnit", "residual_layer")
            found[f"neck.fusion_stage.layers.{4 - int(match[1])}.{rest}"] = value
        else:
            pattern, name = next(pair for pair in NAMES if re.fullmatch(pair[0], key))
            found[name.format(*re.fullmatch(pattern, key).groups())] = value
    return found


def load(folder: Path) -> torch.nn.Module:
    """The network that ``model.json`` describes, with the weights beside it."""
    spec = json.loads((folder / "model.json").read_text())
    backbone = transformers.Dinov2Config(
        hidden_size=spec["dim"],
        num_hidden_layers=spec["depth"],
        num_attention_heads=spec["heads"],
        image_size=518,
        patch_size=14,
        out_indices=[tap + 1 for tap in spec["taps"]],
        reshape_hidden_states=False,
        attn_implementation="sdpa",
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=spec["dim"],
        neck_hidden_sizes=spec["out_channels"],
        fusion_hidden_size=spec["features"],
    )
    network = transformers.DepthAnythingForDepthEstimation(config)
    state = torch.load(folder / "weights.pth", weights_only=True)
    network.load_state_dict(converted(state))
    return network.eval()


def main(folder: str, threads: str, depth: str) -> None:
    """Load, then answer."""
    torch.set_num_threads(int(threads))
    network = load(Path(folder))
    image = torch.from_numpy(np.load(Path(folder) / "image.npy", allow_pickle=False))

    def call() -> np.ndarray:
        with torch.no_grad():
            return network(image).predicted_depth.numpy()

    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    attention = network.backbone.config._attn_implementation
    facts = {"versions": versions, "threads": torch.get_num_threads(), "attention": attention}
    answer(facts, call, depth)


if __name__ == "__main__":
    main(*sys.argv[1:])
