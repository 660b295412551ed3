"""Depth Anything V2 gives upstream's numbers: every golden, with upstream's code never run here.

The reduced files in tests/golden/ are the default; DEPTH_GOLDEN_DIR names a folder of full ones.
"""

from functools import lru_cache

import numpy as np
import pytest
import torch
from golden_files import assert_close, golden, thin
from marks import large
from recipe import batch

from compile.seeded import fill_seeded, seeded_tensor
from depth_anything_v2.config import ENCODERS
from depth_anything_v2.dpt import DepthAnythingV2
from layers.pos_embed import resize_pos_embed

# file, encoder, max_depth, golden's name, seed, batch
NETWORK_CASES = [
    ("mini_v2_vits", "vits", None, "84x126", 9001, 1),
    ("mini_v2_metric_vits", "vits", 20.0, "84x126", 9011, 1),
    ("v2_vits", "vits", None, "518x518", 11, 1),
    ("v2_vits", "vits", None, "518x686", 12, 1),
    ("v2_vits", "vits", None, "b2_266x350", 13, 2),
    ("v2_metric_vits", "vits", 20.0, "266x266", 31, 1),
    ("v2_vitb", "vitb", None, "518x518", 21, 1),
    ("v2_vitl", "vitl", None, "182x238", 41, 1),
    pytest.param("v2_vitg", "vitg", None, "98x126", 51, 1, marks=large),
]
PHOTO_CASES = [
    ("mini_v2_vits", None, "chelsea", 98),
    ("v2_metric_vits", 20.0, "astronaut", 266),
    *(
        ("v2_vits", None, photo, size)
        for photo in ("astronaut", "chelsea", "coffee")
        for size in (518, 266)
    ),
]
# how the full files thin what is not kept whole; the reduced ones thin further
SUBSETS = {"feat": np.s_[:, ::23], "pos_embed": np.s_[:, ::23], "head": np.s_[:, ::8, ::4, ::4]}


@lru_cache(maxsize=1)
def seeded_model(encoder: str, max_depth: "float | None") -> DepthAnythingV2:
    model = DepthAnythingV2(encoder, max_depth=max_depth).eval()
    fill_seeded(model)
    return model


@pytest.mark.parametrize("file, encoder, max_depth, name, seed, count", NETWORK_CASES)
def test_network_output_is_upstreams(file, encoder, max_depth, name, seed, count):
    data = golden(file)
    height, width = map(int, name.split("_")[-1].split("x"))
    image = batch(seed, count, height, width)
    np.testing.assert_array_equal(image.ravel()[:8], data[f"input_{name}__first8"])
    with torch.no_grad():
        depth = seeded_model(encoder, max_depth)(torch.from_numpy(image)).numpy()
    expected = data[f"depth_{name}"]
    assert_close(thin(data, f"depth_{name}", depth), expected)
    statistics = [depth.mean(), depth.std(), depth.min(), depth.max()]
    assert_close(np.array(statistics), data[f"depth_{name}__stats"])


@pytest.mark.parametrize("file, max_depth, photo, size", PHOTO_CASES)
def test_photos_give_upstreams_input_and_depth(file, max_depth, photo, size):
    data, photos = golden(file), golden("mini_v2_vits" if file.startswith("mini") else "v2_vits")
    model, raw = seeded_model("vits", max_depth), photos[f"photo_{photo}"]

    tensor, size_hw = model.image2tensor(raw, size)
    assert size_hw == raw.shape[:2]
    assert list(tensor.shape) == list(data[f"pre_{photo}_{size}_shape"])
    name = f"pre_{photo}_{size}__s4"
    np.testing.assert_array_equal(thin(data, name, tensor.numpy()[..., ::4, ::4]), data[name])

    depth = model.infer_image(raw, size)
    assert depth.dtype == np.float32 and depth.shape == raw.shape[:2]
    name = f"infer_{photo}_{size}"
    assert_close(thin(data, name, depth), data[name])


@pytest.mark.parametrize("name, seed", [("518x518", 11), ("518x686", 12)])
def test_what_happens_inside_the_network_is_upstreams(name, seed):
    data, model = golden("v2_vits"), seeded_model("vits", None)
    height, width = map(int, name.split("x"))
    image = torch.from_numpy(batch(seed, 1, height, width))
    seen = {}
    scratch = model.depth_head.scratch
    hooks = [
        getattr(scratch, part).register_forward_hook(
            lambda _module, _input, output, part=part: seen.update({f"head_{part}": output})
        )
        for part in ("refinenet4", "refinenet3", "refinenet2", "refinenet1", "output_conv1")
    ]
    try:
        with torch.no_grad():
            model(image)
            taps = model.pretrained.get_intermediate_layers(
                image, ENCODERS["vits"].taps, return_class_token=True
            )
    finally:
        for hook in hooks:
            hook.remove()
    grid_hw = model.pretrained.grid_hw(image)
    seen["pos_embed"] = resize_pos_embed(model.pretrained.pos_embed, grid_hw).detach()
    for index, (patches, class_token) in enumerate(taps):
        seen[f"feat{index}"] = patches
        assert_close(class_token.numpy(), data[f"cls{index}_{name}"])
    assert len(seen) == 10
    for part, value in seen.items():
        full = f"{part}_{name}__sub"
        subset = next(where for start, where in SUBSETS.items() if part.startswith(start))
        assert_close(thin(data, full, value.numpy()[subset]), data[full])


def test_every_norm_has_upstreams_epsilon():
    data = golden("eps_probe")
    model = DepthAnythingV2("vits").eval()
    fill_seeded(model)
    tiny = (
        ".gamma", ".qkv.weight", ".qkv.bias", ".patch_embed.proj.weight",
        ".patch_embed.proj.bias", ".pos_embed", ".cls_token",
    )  # fmt: skip
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key.endswith(tiny):
                value.mul_(np.float32(0.003))
        image = torch.from_numpy(batch(61, 2, 70, 98))
        taps = model.pretrained.get_intermediate_layers(
            image, ENCODERS["vits"].taps, return_class_token=True
        )
    for index, (patches, class_token) in enumerate(taps):
        name = f"v2_feat{index}__sub"
        assert_close(thin(data, name, patches.numpy()[:, :, ::4]), data[name])
        assert_close(class_token.numpy(), data[f"v2_cls{index}"])


@pytest.mark.parametrize(
    "name, step",
    [
        ("14x14", 1), ("70x98", 1), ("518x518", 21),
        ("518x686", 28), ("686x518", 28), ("252x1008", 20),
    ],
)  # fmt: skip
def test_position_embedding_is_resized_as_upstream_does(name, step):
    data = golden("units")
    height, width = map(int, name.split("x"))
    stored = torch.from_numpy(seeded_tensor("pretrained.pos_embed", (1, 1370, 384)))
    resized = resize_pos_embed(stored, (height // 14, width // 14)).numpy()
    full = f"pos_{name}__sub"
    assert_close(thin(data, full, resized[:, ::step, ::8]), data[full])
