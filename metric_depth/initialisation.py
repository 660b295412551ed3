"""The network before its training: what its weights and positions begin as.

A seed in; a model, and what of it is trained, out. No disk.
"""

import math
from typing import Any

import torch
from torch import nn

from depth_anything_v2.dpt import DepthAnythingV2
from layers.pos_embed import TRAINED_GRID
from metric_depth.schedule import HEAD_RATE

ENCODER = "vitt"


def sinusoidal_pos_embed(dim: int, grid: int = TRAINED_GRID) -> torch.Tensor:
    """Positions as slow sines across the picture: float32 (1, 1 + grid*grid, dim).

    Frequencies are counted in cycles a picture, at most four, so that every patch grid from 9x9 on
    sees the same function. They are not trained.
    """
    place = torch.arange(grid, dtype=torch.float32).add(0.5).div(grid)
    cycles = torch.logspace(-2, 2, dim // 4, base=2)
    angle = place.unsqueeze(1).mul(2 * math.pi) * cycles  # (grid, dim/4)
    axis = torch.cat((angle.sin(), angle.cos()), dim=1)  # (grid, dim/2)
    rows = axis.unsqueeze(1).expand(grid, grid, -1)
    columns = axis.unsqueeze(0).expand(grid, grid, -1)
    patches = torch.cat((rows, columns), dim=2).reshape(1, grid * grid, dim)
    return torch.cat((torch.zeros(1, 1, dim), patches), dim=1).mul(0.3)


def fresh_model(seed: int) -> DepthAnythingV2:
    """The network before training: the same seed gives the same weights."""
    torch.manual_seed(seed)
    model = DepthAnythingV2(ENCODER)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.05)
            nn.init.zeros_(module.bias)
        elif "patch_embed" in name and isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.06)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                # small: or the first steps drown what the patches show in one mean map
                parameter.fill_(0.1)
            elif "refinenet4.resConfUnit1" in name:
                parameter.zero_()  # never used; zeros compress
        model.pretrained.cls_token.normal_(std=0.02)
        model.pretrained.pos_embed.copy_(sinusoidal_pos_embed(model.pretrained.embed_dim))
        # clear of the final ReLU's zero, where nothing would be learnt
        model.get_parameter("depth_head.scratch.output_conv2.2.bias").fill_(1.0)
    model.pretrained.pos_embed.requires_grad_(False)
    model.pretrained.mask_token.requires_grad_(False)
    return model


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """What is trained, by learning rate (``share`` of the schedule's) and weight decay."""
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        head, decays = name.startswith("depth_head"), parameter.ndim > 1
        settings = {"params": [], "share": HEAD_RATE if head else 1.0}
        if not decays:
            settings["weight_decay"] = 0.0
        groups.setdefault((head, decays), settings)["params"].append(parameter)
    return list(groups.values())
