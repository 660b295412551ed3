"""Weights of Depth Anything V2 as Hugging Face's transformers names them, under the official names.

Names to tensors in, from the repositories that end in ``-hf``; the same weights out, as
``depth_anything_v2`` expects them. No file is read, and whether they fit is for others to say.
Source: ``modeling_depth_anything`` and ``modeling_dinov2`` of transformers, and the list of names
in its ``convert_depth_anything_to_hf``.
"""

import re
from collections.abc import Mapping, Sequence

import torch

LEVELS = range(1, 5)
LAYER = r"^backbone\.encoder\.layer\.(\d+)\."
BLOCK = r"pretrained.blocks.\1."
HEAD = "depth_head."
# What is replaced in a name by what, in this order
RULES = (
    (r"^backbone\.embeddings\.position_embeddings$", "pretrained.pos_embed"),
    (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "pretrained.patch_embed.proj."),
    (r"^backbone\.embeddings\.", "pretrained."),  # cls_token, mask_token
    (r"^backbone\.layernorm\.", "pretrained.norm."),
    (LAYER + r"attention\.(?:output\.dense|o_proj)\.", BLOCK + "attn.proj."),
    (LAYER + r"layer_scale(\d)\.lambda1$", BLOCK + r"ls\2.gamma"),
    (LAYER + r"mlp\.weights_in\.", BLOCK + "mlp.w12."),  # the gated form, of vitg
    (LAYER + r"mlp\.weights_out\.", BLOCK + "mlp.w3."),
    (LAYER + r"(norm\d|mlp|attn)\.", BLOCK + r"\2."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.projection\.", HEAD + r"projects.\1."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.resize\.", HEAD + r"resize_layers.\1."),
    *((rf"^neck\.convs\.{i - 1}\.", f"{HEAD}scratch.layer{i}_rn.") for i in LEVELS),
    # counted in the order in which they run, the coarsest first
    *((rf"^neck\.fusion_stage\.layers\.{4 - i}\.", f"{HEAD}scratch.refinenet{i}.") for i in LEVELS),
    (r"(refinenet\d)\.projection\.", r"\1.out_conv."),
    (r"(refinenet\d)\.residual_layer(\d)\.convolution(\d)\.", r"\1.resConfUnit\2.conv\3."),
    (r"^head\.conv1\.", HEAD + "scratch.output_conv1."),
    (r"^head\.conv2\.", HEAD + "scratch.output_conv2.0."),
    (r"^head\.conv3\.", HEAD + "scratch.output_conv2.2."),
)
# Kept apart there: in files, and in the memory of transformers 5
QUERY_KEY_VALUE = (
    tuple(f"attention.attention.{part}." for part in ("query", "key", "value")),
    tuple(f"attention.{part}_proj." for part in "qkv"),
)


def has_transformers_names(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether names are those of transformers."""
    return any(name.startswith(("backbone.embeddings.", "backbone.encoder.")) for name in state)


def official_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename weights, and join queries, keys and values, float (C, C) each, to one (3C, C).

    What has no counterpart keeps its name, as do three that are not of one shape and dtype.
    """
    joined = dict(state)
    for name in state:
        for parts in QUERY_KEY_VALUE:
            names = [name.replace(parts[0], part) for part in parts]
            values = [state[one] for one in names if one in state]
            if parts[0] in name and len(values) == len(parts) and _alike(values):
                joined[name.replace(parts[0], "attn.qkv.")] = torch.cat(values)
                for one in names:
                    del joined[one]
    return {_official(name): value for name, value in joined.items()}


def _alike(values: Sequence[torch.Tensor]) -> bool:
    return values[0].ndim > 0 and len({(value.shape, value.dtype) for value in values}) == 1


def _official(name: str) -> str:
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name
