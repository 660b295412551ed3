"""Splats on pictures against gsplat's own, and the one call that draws them."""

import sys
import tracemalloc
import types

import numpy as np
import pytest
from scene_recipe import gaussians, golden, scene

from exports import rasteriser, splat_pictures
from exports.rasteriser import rasterise
from exports.splat_pictures import has_gsplat, pictures
from exports.splat_projection import Splats, project, rising
from runtime.errors import InputError, MissingDependency
from runtime.scene.cameras import homogeneous

IDENTITY = np.eye(4)


def lens(fx, fy, cx, cy):
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])


SMALL, SQUARE = (lens(18, 16, 10, 6), (12, 20)), (lens(30, 33, 16, 16), (32, 32))


def splats_of(found):
    names = ("means", "scales", "rotations", "opacities", "harmonics")
    return Splats(*(getattr(found, name)[0] for name in names))


def on_the_axis(*opacities):
    """Three large splats, one behind the other."""
    means = np.array([[0, 0, z] for z in (1.5, 2, 2.5)], np.float32)
    colours = np.array([[5 + 10 * n + c for c in range(3)] for n in range(3)], np.float32)
    turns = np.tile(np.array([1, 0, 0, 0], np.float32), (3, 1))
    scales = np.full((3, 3), 20, np.float32)
    return Splats(means, scales, turns, np.array(opacities, np.float32), colours[:, :, None])


def special():
    names = ("means", "scales", "rotations", "opacities", "harmonics")
    return Splats(*(golden("gs_render")[f"special_in__{name}"] for name in names))


def view(at):
    return homogeneous(scene(2, 42, 56).extrinsics)[at]


CASES = {
    "g200_v0": lambda: (splats_of(gaussians(200, 2200)), view(0), *SQUARE),
    "g200_v1": lambda: (splats_of(gaussians(200, 2200)), view(1), *SQUARE),
    "sh3": lambda: (splats_of(gaussians(60, 2201, 16)), view(0), *SMALL),
    "sh0": lambda: (splats_of(gaussians(60, 2202, 1)), view(0), *SMALL),
    "special": lambda: (special(), IDENTITY, *SMALL),
    "cap": lambda: (on_the_axis(1, 0.5, 0.3), IDENTITY, *SMALL),
    "stop": lambda: (on_the_axis(0.95, 1, 0.8), IDENTITY, *SMALL),
}


@pytest.mark.parametrize("case", list(CASES))
def test_a_camera_sees_what_gsplat_projects(case):
    kept = golden("gs_render")
    splats, pose, k, size_hw = CASES[case]()
    seen = project(splats, pose, k, size_hw)
    at = seen.indices
    assert sorted(at) == list(np.flatnonzero(kept[f"{case}__drawn"]))
    for name, ours in (
        ("means2d", seen.centres),
        ("conics", seen.conics),
        ("depths", seen.depths),
        ("colors", seen.colours),
    ):
        np.testing.assert_allclose(ours, kept[f"{case}__{name}"][at], rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(np.ceil(seen.reach), kept[f"{case}__radii"][at])
    assert (np.diff(seen.depths) >= 0).all()


@pytest.mark.parametrize("case", list(CASES))
def test_pictures_are_gsplats(case):
    kept = golden("gs_render")
    splats, pose, k, size_hw = CASES[case]()
    picture = rasterise(project(splats, pose, k, size_hw), size_hw)
    assert {part.dtype for part in (picture.rgb, picture.depth, picture.alpha)} == {
        np.dtype(np.float32)
    }
    np.testing.assert_allclose(picture.rgb, kept[f"{case}__RGB_D"][..., :3], atol=1e-4)
    np.testing.assert_allclose(picture.depth, kept[f"{case}__RGB_D"][..., 3], atol=1e-4)
    np.testing.assert_allclose(picture.alpha, kept[f"{case}__alpha"], atol=1e-4)
    np.testing.assert_allclose(picture.expected_depth(), kept[f"{case}__RGB_ED"][..., 3], atol=1e-4)


def one_by_one(seen, size_hw):
    """The same by the equations: every splat on every pixel, one after the other, in float64."""
    height, width = size_hw
    y, x = np.mgrid[:height, :width] + 0.5
    light, done = np.ones(size_hw), np.zeros(size_hw, bool)
    sums = np.zeros((*size_hw, 4))
    for at in range(len(seen)):
        dx, dy = seen.centres[at, 0] - x, seen.centres[at, 1] - y
        xx, xy, yy = seen.conics[at]
        sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
        cover = np.minimum(0.999, seen.opacities[at] * np.exp(-sigma))
        cover[cover < 1 / 255] = 0
        after = light * (1 - cover)
        done |= after <= 1e-4
        cover[done] = 0
        sums += (cover * light)[..., None] * [*seen.colours[at], seen.depths[at]]
        light = np.where(done, light, after)
    return sums, 1 - light


def crowd(count, pixels, opacity, seed=0, size_hw=(45, 70)):
    """Splats of about so many pixels all over a picture, several deep, needles among them."""
    random = np.random.RandomState(seed)
    height, width = size_hw
    z = random.uniform(2, 6, count)
    x, y = (random.uniform(-5, side + 5, count) - side / 2 for side in (width, height))
    means = np.stack((x * z / width, y * z / width, z), axis=1)
    scales = (pixels * z / width)[:, None] * np.exp(random.normal(0, 0.8, (count, 3)))
    parts = (
        means,
        scales,
        random.standard_normal((count, 4)),
        random.uniform(*opacity, count),
        random.standard_normal((count, 3, 9)) * ([0.8] + [0.1] * 8),
    )
    k = lens(width, width, width / 2, height / 2)
    return Splats(*(part.astype(np.float32) for part in parts)), k, size_hw


@pytest.mark.parametrize(
    ("count", "pixels", "opacity"),
    [(3000, 1.0, (0.1, 0.9)), (3000, 3.0, (0.05, 0.3)), (400, 15.0, (0.3, 1.0)), (1, 3, (1, 1))],
)
def test_tiles_rounds_and_chunks_change_nothing(count, pixels, opacity, monkeypatch):
    splats, k, size_hw = crowd(count, pixels, opacity)
    seen = project(splats, IDENTITY, k, size_hw)
    sums, alpha = one_by_one(seen, size_hw)
    whole = rasterise(seen, size_hw)
    # a splat at the very edge of a rule may fall on its other side in float32
    off = abs(whole.rgb - sums[..., :3]).max(axis=-1)
    assert (off > 1e-4).mean() < 1e-3 and off.max() < 2 / 255
    assert abs(whole.alpha - alpha).mean() < 1e-5
    assert np.quantile(abs(whole.depth - sums[..., 3]), 0.999) < 5e-4
    for name, value in (("PER_TILE", 2), ("LEAST_CHUNK", 64), ("ROUND", 3), ("TILES", 5)):
        monkeypatch.setattr(rasteriser, name, value)
    pieces = rasterise(seen, size_hw, threads=2)
    np.testing.assert_allclose(pieces.rgb, whole.rgb, atol=2e-5)
    np.testing.assert_allclose(pieces.depth, whole.depth, atol=1e-4)


def test_the_same_splats_give_the_same_bytes_whatever_the_threads():
    splats, k, size_hw = crowd(2000, 2.0, (0.1, 0.9))
    first, second = (
        rasterise(project(splats, IDENTITY, k, size_hw, threads), size_hw, threads=threads)
        for threads in (1, 4)
    )
    assert first.rgb.tobytes() == second.rgb.tobytes()


def test_what_nothing_covers_is_the_background():
    splats, k, size_hw = crowd(30, 2.0, (0.5, 0.9))
    seen = project(splats, IDENTITY, k, size_hw)
    on_black, on_colour = rasterise(seen, size_hw), rasterise(seen, size_hw, (0.2, 0.5, 1.0))
    light = 1 - on_black.alpha[..., None]
    np.testing.assert_allclose(on_colour.rgb, on_black.rgb + light * (0.2, 0.5, 1.0), atol=1e-6)
    empty = on_black.alpha == 0
    assert empty.any() and not on_black.expected_depth()[empty].any()
    np.testing.assert_allclose(on_colour.rgb[empty], np.tile((0.2, 0.5, 1.0), (empty.sum(), 1)))


def test_a_picture_of_more_than_65536_tiles_is_sorted_too():
    splats, k, size_hw = crowd(300, 3.0, (0.3, 0.9), size_hw=(40, 60))
    large = (2100, 2200)
    seen = project(splats, IDENTITY, k, size_hw)
    whole, part = rasterise(seen, large), rasterise(seen, size_hw)
    assert (2100 // rasteriser.TILE) * (2200 // rasteriser.TILE) > 1 << 16
    np.testing.assert_allclose(whole.rgb[:32, :56], part.rgb[:32, :56], atol=2e-5)
    keys = np.random.RandomState(0).randint(0, 1 << 20, 5000).astype(np.uint32)
    np.testing.assert_array_equal(rising(keys), np.argsort(keys, kind="stable"))


def test_no_splats_are_a_picture_of_nothing():
    splats, k, size_hw = crowd(5, 2.0, (0.5, 0.9))
    behind = np.diag([1.0, 1, -1, 1])
    picture = rasterise(project(splats, behind, k, size_hw), size_hw, (1, 0, 0))
    assert (picture.rgb == (1, 0, 0)).all() and not picture.alpha.any() and not picture.depth.any()
    none = Splats(*(getattr(splats, name)[:0] for name in Splats.__dataclass_fields__))
    assert not rasterise(project(none, IDENTITY, k, size_hw), size_hw).alpha.any()


def test_numbers_that_are_none_are_left_out():
    splats, k, size_hw = crowd(200, 2.0, (0.5, 0.9))
    expected = rasterise(project(splats, IDENTITY, k, size_hw), size_hw)
    spoiled = []
    for name in Splats.__dataclass_fields__:
        part = getattr(splats, name)
        bad = np.concatenate((part[:3], part))
        spoiled.append(bad)
    spoiled[0][0], spoiled[1][1], spoiled[2][2] = np.nan, np.inf, 0
    with np.errstate(invalid="raise", divide="raise"):
        picture = rasterise(project(Splats(*spoiled), IDENTITY, k, size_hw), size_hw)
    np.testing.assert_allclose(picture.rgb, expected.rgb, atol=1e-4)


def test_memory_is_bounded_however_many_splats_cover_the_whole_picture():
    splats, k, size_hw = crowd(4000, 400.0, (0.01, 0.02), size_hw=(160, 160))
    seen = project(splats, IDENTITY, k, size_hw)
    tracemalloc.start()
    try:
        rasterise(seen, size_hw, threads=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    every = 4000 * (160 // rasteriser.TILE) ** 2  # splats, counted for each tile
    assert every * 24 > 30e6 and peak < 25e6


@pytest.mark.parametrize(
    ("name", "shape", "match"),
    [
        ("means", (7, 2), r"means are \(7, 2\), expected \(7, 3\)"),
        ("quaternions", (6, 4), "quaternions"),
        ("harmonics", (7, 3, 5), "1, 4, 9 or 16"),
    ],
)
def test_other_shapes_are_refused(name, shape, match):
    parts = {"means": (7, 3), "scales": (7, 3), "quaternions": (7, 4), "opacities": (7,)}
    parts["harmonics"] = (7, 3, 9)
    parts[name] = shape
    with pytest.raises(InputError, match=match):
        Splats(**{part: np.ones(some, np.float32) for part, some in parts.items()})


# --- one call, two ways to draw


@pytest.fixture
def flight():
    splats, k, size_hw = crowd(300, 2.0, (0.3, 0.9))
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, 0, 3] = np.linspace(-0.3, 0.3, 5)
    return splats, poses, np.tile(k, (5, 1, 1)), size_hw


@pytest.fixture
def gsplat(monkeypatch):
    """A stand-in for the package, which draws by our own code and keeps what it was called with."""
    torch = pytest.importorskip("torch")
    called = []

    def rasterization(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **more):
        called.append({"viewmats": viewmats, "colors": colors, "width": width, **more})
        splats = Splats(
            *(part.numpy() for part in (means, scales, quats, opacities, colors.transpose(1, 2)))
        )
        drawn = [
            rasterise(project(splats, pose, k, (height, width)), (height, width), tuple(light))
            for pose, k, light in zip(viewmats.numpy(), Ks.numpy(), more["backgrounds"].numpy())
        ]
        colours = [np.concatenate((one.rgb, one.depth[..., None]), axis=-1) for one in drawn]
        alphas = [one.alpha[..., None] for one in drawn]
        return torch.tensor(np.stack(colours)), torch.tensor(np.stack(alphas)), {}

    module = types.ModuleType("gsplat")
    module.rasterization = rasterization
    module.__spec__ = types.SimpleNamespace(name="gsplat")
    monkeypatch.setitem(sys.modules, "gsplat", module)
    module.kernels = types.SimpleNamespace(_C=object())
    monkeypatch.setitem(sys.modules, "gsplat.cuda._backend", module.kernels)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(splat_pictures, "DEVICE", "cpu")
    return module, called


def test_gsplat_draws_where_it_is_and_is_called_as_upstream_calls_it(flight, gsplat):
    splats, *given = flight
    assert has_gsplat()
    theirs = list(pictures(splats, *given, background=(0.1, 0.2, 0.3)))
    ours = list(pictures(splats, *given, background=(0.1, 0.2, 0.3), renderer="cpu"))
    assert [len(one["viewmats"]) for one in gsplat[1]] == [4, 1]  # chunks
    first = gsplat[1][0]
    assert first["render_mode"] == "RGB+D" and first["packed"] is False and first["sh_degree"] == 2
    assert tuple(first["colors"].shape) == (300, 9, 3) and first["width"] == 70
    assert tuple(first["backgrounds"].shape) == (4, 3)
    for one, other in zip(theirs, ours):
        np.testing.assert_allclose(one.rgb, other.rgb, atol=1e-5)
        np.testing.assert_allclose(one.expected_depth(), other.expected_depth(), atol=1e-4)


def test_the_processor_draws_where_gsplat_does_not_work(flight, gsplat, caplog):
    module, _ = gsplat

    def broken(*_, **__):
        raise RuntimeError("no nvcc")

    module.rasterization = broken
    splats, *given = flight
    assert len(list(pictures(splats, *given))) == 5
    assert "gsplat does not work here (no nvcc): drawing on the processor" in caplog.text
    with pytest.raises(RuntimeError, match="no nvcc"):
        next(pictures(splats, *given, renderer="gsplat"))


def test_without_a_compiler_for_its_kernels_gsplat_says_so(flight, gsplat, caplog):
    gsplat[0].kernels._C = None
    splats, *given = flight
    assert len(list(pictures(splats, *given))) == 5
    assert "no CUDA compiler" in caplog.text and not gsplat[1]
    with pytest.raises(InputError, match="install CUDA's toolkit, or use cpu"):
        next(pictures(splats, *given, renderer="gsplat"))


def test_gsplat_is_given_nothing_that_is_no_number(flight, gsplat):
    splats, *given = flight
    parts = [
        getattr(splats, name).copy()
        for name in ("means", "scales", "quaternions", "opacities", "harmonics")
    ]
    whole = list(pictures(Splats(*(part[5:] for part in parts)), *given))
    parts[0][0, 1], parts[1][1, 0], parts[3][2] = np.nan, np.inf, np.nan
    parts[2][3], parts[3][4] = 0, 1e-3
    spoilt = list(pictures(Splats(*parts), *given))
    assert gsplat[1][-1]["colors"].shape[0] == 295
    for one, other in zip(spoilt, whole):
        np.testing.assert_array_equal(one.rgb, other.rgb)
    parts[4][:] = np.nan
    assert np.isfinite(next(pictures(Splats(*parts), *given)).rgb).all()
    calls = len(gsplat[1])
    nothing = Splats(*(part[:3] for part in parts))
    drawn = list(pictures(nothing, *given, background=(0.5, 0.5, 0.5), renderer="gsplat"))
    assert len(gsplat[1]) == calls, "gsplat divides by the number of splats"
    assert len(drawn) == 5 and (drawn[0].rgb == 0.5).all()


def test_gsplat_is_asked_for_by_name_only_where_it_is(flight, monkeypatch):
    monkeypatch.setitem(sys.modules, "gsplat", None)
    splats, *given = flight
    with pytest.raises(MissingDependency, match=r"gsplat is not installed; run: .*gs"):
        next(pictures(splats, *given, renderer="gsplat"))
    module = types.ModuleType("gsplat")
    module.__spec__ = types.SimpleNamespace(name="gsplat")
    monkeypatch.setitem(sys.modules, "gsplat", module)
    monkeypatch.setattr(splat_pictures, "has_gsplat", lambda: False)
    with pytest.raises(InputError, match="torch sees no CUDA GPU here; use auto or cpu"):
        next(pictures(splats, *given, renderer="gsplat"))
    with pytest.raises(InputError, match="use one of auto, gsplat, cpu"):
        next(pictures(splats, *given, renderer="opengl"))


@pytest.mark.skipif(not has_gsplat(), reason="no CUDA device here, or no gsplat")
@pytest.mark.parametrize("light", [(0, 0, 0), (1, 1, 1)])
def test_gsplat_itself_draws_what_we_draw(flight, light):
    splats, *given = flight
    theirs = pictures(splats, *given, background=light, renderer="gsplat")
    for one, other in zip(theirs, pictures(splats, *given, background=light, renderer="cpu")):
        for name in ("rgb", "depth", "alpha"):
            off = np.abs(getattr(one, name) - getattr(other, name)).max()
            assert off < 1e-4, name
