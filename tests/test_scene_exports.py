"""Every format of a scene against upstream's numbers, and what it does better."""

import json
import struct

import numpy as np
import pytest
from PIL import Image
from scene_recipe import GOLDEN, features, gaussians, golden, holes, scene

from depth_anything_3.utils.export import export
from exports.cloud import make_cloud
from exports.colour import spectral, spectral_shares
from exports.depth_vis import beside, depth_picture
from exports.scene import scene_of
from exports.scene_features import page, principal_colours
from exports.scene_glb import GlbOptions
from exports.selection import CloudOptions, select

UPSTREAM = {"pixel_grid": "upstream"}


def test_the_recipe_is_the_goldens():
    kept, found = golden("inputs"), scene(2, 42, 56, sky=True)
    for name in ("depth", "conf", "processed_images", "sky", "intrinsics", "extrinsics"):
        np.testing.assert_array_equal(getattr(found, name), kept[f"scene2_42x56__{name}"])
    splats = gaussians(200, 2200)
    for name in ("means", "scales", "rotations", "harmonics", "opacities"):
        np.testing.assert_allclose(
            getattr(splats, name)[0], kept[f"gaussians_200_2200__{name}"], rtol=3e-7
        )
    np.testing.assert_allclose(
        features(3, 3, 4, 24, 3000), kept["features_3_3_4_24_3000"], rtol=3e-7, atol=1e-7
    )


# --- npz


@pytest.mark.parametrize("case", ["full", "one44", "bare"])
def test_npz_is_upstreams_to_the_bit(case, tmp_path):
    found = {
        "full": lambda: scene(2, 28, 42),
        "one44": lambda: scene(1, 42, 56, whole=True),
        "bare": lambda: scene(2, 28, 42, conf=None, extrinsics=None, intrinsics=None),
    }[case]()
    export(found, "npz-mini_npz", tmp_path)
    kept = golden("npz_cases")
    for name in ("npz", "mini_npz"):
        with np.load(tmp_path / "exports" / name / "results.npz") as written:
            prefix = f"{case}__{name}__"
            assert [f"{prefix}{key}" for key in written] == [
                key for key in kept if key.startswith(prefix)
            ]
            for key in written:
                assert written[key].dtype == kept[prefix + key].dtype
                np.testing.assert_array_equal(written[key], kept[prefix + key])


# --- glb


def read_glb(path):
    """The JSON, and (positions, colours) of each geometry."""
    data = path.read_bytes()
    magic, version, length, size, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    document, body = json.loads(data[20 : 20 + size]), data[28 + size :]
    shapes = []
    for mesh in document.get("meshes", []):
        found = []
        for name, dtype, columns in (("POSITION", "<f4", 3), ("COLOR_0", "u1", 4)):
            at = document["accessors"][mesh["primitives"][0]["attributes"][name]]
            where = document["bufferViews"][at["bufferView"]]
            own = body[where["byteOffset"] : where["byteOffset"] + where["byteLength"]]
            values = np.frombuffer(own, dtype).reshape(-1, columns)
            assert len(values) == at["count"]
            np.testing.assert_array_equal(values.min(0), np.array(at["min"], values.dtype))
            np.testing.assert_array_equal(values.max(0), np.array(at["max"], values.dtype))
            found.append(values)
        shapes.append((mesh["primitives"][0]["mode"], *found))
    return document, shapes


GLB_CASES = {
    "n1": (lambda: scene(1, 28, 56), {}),
    "nocam": (lambda: scene(1, 28, 56), {"show_cameras": False, "export_depth_vis": False}),
    "n3": (lambda: scene(3, 42, 42), {}),
    "n3 44": (lambda: scene(3, 42, 42, whole=True), {}),
    "sky": (lambda: scene(2, 42, 56, sky=True), {"keep_sky": True}),
    "black": (lambda: scene(2, 42, 56), {"filter_black_bg": True}),
    "white": (lambda: scene(2, 42, 56), {"filter_white_bg": True}),
    "holes": (holes, {}),
    "none": (lambda: scene(2, 42, 56, depth=np.zeros((2, 42, 56), np.float32)), {}),
    "thr2": (
        lambda: scene(2, 42, 56),
        {"conf_thresh": 2.0, "camera_size": 0.1, "conf_thresh_percentile": 10},
    ),
    "thrhi": (lambda: scene(2, 42, 56), {"conf_thresh": 99, "ensure_thresh_percentile": 75}),
    "thrlo": (lambda: scene(2, 42, 56), {"conf_thresh": -1, "conf_thresh_percentile": 0}),
    "max500": (lambda: scene(2, 42, 56), {"num_max_points": 500}),
}


@pytest.mark.parametrize("case", list(GLB_CASES))
def test_glb_is_upstreams(case, tmp_path):
    make, options = GLB_CASES[case]
    export(make(), "glb", tmp_path, glb={**UPSTREAM, **options})
    document, shapes = read_glb(tmp_path / "scene.glb")
    kept = {
        key.partition("__")[2]: values
        for key, values in golden("glb_cases").items()
        if key.startswith(f"{case.split()[0]}__")
    }
    matrix = document["scenes"][0]["extras"]["hf_alignment"]
    np.testing.assert_allclose(matrix, kept["A"], atol=1e-5)
    if "points" in kept:
        mode, points, colours = shapes.pop(0)
        assert mode == 0
        np.testing.assert_array_equal(colours, kept["colors"])
        np.testing.assert_allclose(points, kept["points"], atol=1e-5)
    assert len(shapes) == len(kept.get("cam_segments", ()))
    for (mode, lines, colours), segments, colour in zip(
        shapes, kept.get("cam_segments", ()), kept.get("cam_colors", ())
    ):
        assert mode == 1
        np.testing.assert_allclose(lines.reshape(8, 2, 3), segments, atol=1e-5)
        np.testing.assert_array_equal(colours, colour)
    pictures = tmp_path / "depth_vis" / "0000.jpg"
    assert pictures.exists() == (case != "nocam")
    if pictures.exists():
        assert (tmp_path / "scene.jpg").read_bytes() == pictures.read_bytes()


@pytest.mark.parametrize("case", [one for one in GLB_CASES if one != "n3 44"])
def test_thresholds_and_points_before_the_frame_are_upstreams(case):
    make, options = GLB_CASES[case]
    kept = golden("glb_cases")
    found = make()
    cloud = make_cloud(scene_of(found), GlbOptions(**{**UPSTREAM, **options}))
    assert abs(cloud.selection.threshold - kept[f"{case}__thr"]) < 1e-6
    if f"{case}__world_points" in kept:
        np.testing.assert_allclose(cloud.positions, kept[f"{case}__world_points"], atol=1e-5)
    if case == "sky":
        far = kept["sky__depth_after"][found.sky]
        np.testing.assert_allclose(far, cloud.selection.sky_depth, rtol=1e-7)
    if case in ("black", "white"):
        rgb = found.processed_images
        background = (rgb < 16).all(-1) if case == "black" else (rgb >= 240).all(-1)
        np.testing.assert_array_equal(np.argwhere(background), kept[f"{case}__conf_changed"])


@pytest.mark.parametrize(
    ("sky", "conf_thresh", "low", "high", "expected"),
    [
        (False, 1.05, 40, 90, 1.2013757228851318),
        (False, 2.0, 10, 90, 2.0),
        (False, 99, 40, 90, 2.4764018058776855),
        (False, -1, 0, 90, 1.000019907951355),
        (False, 1.05, 95, 90, 2.4764018058776855),
        (True, 1.05, 40, 90, 1.2312021255493164),
        (True, 99, 40, 90, 2.4481453895568848),
        (True, -1, 0, 90, 1.000019907951355),
    ],
)
def test_the_threshold_is_upstreams(sky, conf_thresh, low, high, expected):
    options = CloudOptions(
        conf_thresh=conf_thresh, conf_thresh_percentile=low, ensure_thresh_percentile=high
    )
    found = select(scene_of(scene(2, 42, 56, sky=sky)), options).threshold
    assert abs(found - expected) < 1e-6


def test_glb_is_read_by_trimesh_as_upstreams_file_is(tmp_path):
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed: extra dev")
    export(scene(1, 28, 56), "glb", tmp_path, glb=UPSTREAM)
    ours, theirs = (
        trimesh.load(path) for path in (tmp_path / "scene.glb", GOLDEN / "glb_n1_scene.glb")
    )
    assert set(ours.geometry) == set(theirs.geometry)
    for name, shape in theirs.geometry.items():
        np.testing.assert_allclose(
            np.sort(ours.geometry[name].vertices, axis=0),
            np.sort(shape.vertices, axis=0),
            atol=1e-5,
        )
    np.testing.assert_array_equal(
        ours.geometry["geometry_0"].colors, theirs.geometry["geometry_0"].colors
    )


# --- depth_vis


@pytest.mark.parametrize("case", ["plain", "holes"])
def test_depth_vis_is_upstreams_to_the_pixel(case):
    found = scene_of(scene(2, 42, 56) if case == "plain" else holes())
    for view, picture in enumerate(golden("depth_vis_cases")[f"{case}__images"]):
        np.testing.assert_array_equal(beside(found, view), picture)


def test_depth_vis_is_upstreams_jpeg(tmp_path):
    export(scene(2, 42, 56), "depth_vis", tmp_path)
    ours, theirs = (
        np.asarray(Image.open(path), int)
        for path in (tmp_path / "depth_vis" / "0000.jpg", GOLDEN / "depth_vis_plain_0000.jpg")
    )
    assert abs(ours - theirs).max() <= 2  # two decoders' rounding


FUNCTION_CASES = {
    "ramp": {},
    "ten_valid": {},
    "eleven_valid": {},
    "constant": {},
    "none_valid": {},
    "negative": {},
    "minmax_given": {"depth_min": 0.2, "depth_max": 0.9},
    "pct10": {"percentile": 10},
    "gray": {"cmap": "gray"},
    "float_out": {"as_float": True},
}


@pytest.mark.parametrize("case", list(FUNCTION_CASES))
def test_depth_is_painted_as_upstream_paints_it(case):
    kept, options = golden("depth_vis_cases"), dict(FUNCTION_CASES[case])
    limits = kept[f"fn_{case}__minmax"]
    if case == "minmax_given":
        options = {"depth_min": limits[0], "depth_max": limits[1]}
    painted, found = depth_picture(kept[f"fn_{case}__depth"], **options)
    np.testing.assert_allclose(found, limits, rtol=1e-6)
    assert painted.dtype == kept[f"fn_{case}__image"].dtype
    if case == "float_out":
        np.testing.assert_allclose(painted, kept[f"fn_{case}__image"], atol=1e-12)
    else:
        np.testing.assert_array_equal(painted, kept[f"fn_{case}__image"])


def test_the_palette_is_upstreams():
    kept = golden("depth_vis_cases")
    np.testing.assert_allclose(spectral_shares(False), kept["spectral_lut"], atol=1e-12)
    np.testing.assert_array_equal(spectral(False), kept["spectral_lut_u8"])


# --- feat_vis


@pytest.mark.parametrize("case", ["n3", "n2_sq"])
def test_features_are_upstreams_up_to_a_flip(case):
    views, size, grid, channels = {
        "n3": (3, (42, 56), (3, 4), 24),
        "n2_sq": (2, (70, 70), (5, 5), 32),
    }[case]
    kept = golden("feat_vis_cases")
    for layer, seed in ((5, 3000), (11, 3001)):
        aux = {f"feat_layer_{layer}": features(views, *grid, channels, seed)}
        found = scene(views, *size, aux=aux)
        shown = principal_colours(aux[f"feat_layer_{layer}"])
        for name in ("exact", "upstream_seed0"):
            expected = kept[f"{case}__feat_layer_{layer}__{name}"]
            for channel in range(3):
                own = expected[..., channel]
                off = min(abs(shown[..., channel] - one).max() for one in (own, 1 - own))
                assert off < 1e-4
        exact = kept[f"{case}__feat_layer_{layer}__upstream_seed0"]
        flipped = [abs(shown[..., c] - exact[..., c]).max() > 1e-4 for c in range(3)]
        theirs = np.where(flipped, 1 - shown, shown)
        for view in range(views):
            page_ = page(scene_of(found), theirs, view).astype(int)
            expected_page = kept[f"{case}__feat_layer_{layer}__pages"][view].astype(int)
            assert abs(page_ - expected_page).max() <= 1


# --- gs_ply


def read_splats(path):
    data = path.read_bytes()
    header, _, body = data.partition(b"end_header\n")
    lines = [line for line in header.decode().splitlines() if not line.startswith("comment ")]
    names = [line.split()[-1] for line in lines if "property" in line]
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert lines[2].startswith("element vertex ")
    return names, np.frombuffer(body, "<f4").reshape(-1, len(names))


SPLAT_CASES = {
    "n2": (4704, 2000, (2, 42, 56), {}),
    "n3_interval2": (7056, 2001, (3, 42, 56), {"gs_views_interval": 2}),
    "n3_none": (7056, 2001, (3, 42, 56), {"gs_views_interval": None}),
    "file_n1": (1280, 2005, (1, 32, 40), {}),
    "small_28x42": (1176, 2003, (1, 28, 42), {}),
    "small_28x28": (784, 2004, (1, 28, 28), {}),
}
OFF = {"prune_by_depth_percent": 1.0}
SWITCHES = {
    "shift_scale": {**OFF, "shift_and_scale": True},
    "full_sh": {**OFF, "save_sh_dc_only": False},
    "mcmc": {**OFF, "match_3dgs_mcmc_dc_only": True},
    "raw_opacity": {**OFF, "inv_opacity": False},
    "no_depth_prune": OFF,
    "no_border_prune": {**OFF, "prune_border_gs": False},
    "depth_half": {"prune_by_depth_percent": 0.5},
}


@pytest.mark.parametrize("case", list(SPLAT_CASES))
def test_splats_are_upstreams_rows(case, tmp_path):
    count, seed, size, options = SPLAT_CASES[case]
    splats, kept = gaussians(count, seed), golden("gs_ply_cases")
    export(scene(*size, gaussians=splats), "gs_ply", tmp_path, gs_ply=options)
    _, rows = read_splats(tmp_path / "gs_ply" / "0000.ply")
    fixed = f"{case}__index_fixed"
    index = kept[fixed] if fixed in kept else kept[f"{case}__index"]
    np.testing.assert_array_equal(rows[:, :3], splats.means[0][index])
    if fixed in kept:
        return
    np.testing.assert_allclose(rows[:64], kept[f"{case}__first64"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(rows.sum(0, np.float64), kept[f"{case}__sum"], rtol=1e-6, atol=1e-2)
    if case == "file_n1":
        theirs = (GOLDEN / "gs_ply_n1_32x40.ply").read_bytes()
        ours = (tmp_path / "gs_ply" / "0000.ply").read_bytes()
        comments = [line for line in ours.splitlines(True)[:30] if line.startswith(b"comment ")]
        for line in comments:
            ours = ours.replace(line, b"", 1)
        assert ours.partition(b"end_header")[0] == theirs.partition(b"end_header")[0]
        assert len(ours) == len(theirs)
        assert b"comment axes: OpenCV: x right, y down, z forward\n" in comments
        assert {b"comment opacity: logit\n", b"comment rot: w x y z\n"} <= set(comments)


@pytest.mark.parametrize("case", list(SWITCHES))
def test_splats_have_upstreams_switches(case, tmp_path):
    kept = golden("gs_ply_cases")
    found = scene(1, 32, 40, gaussians=gaussians(1280, 2005))
    export(found, "gs_ply", tmp_path, gs_ply=SWITCHES[case])
    _, rows = read_splats(tmp_path / "gs_ply" / "0000.ply")
    np.testing.assert_allclose(rows[:32], kept[f"helper_{case}__first32"], rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(
        rows.sum(0, np.float64), kept[f"helper_{case}__sum"], rtol=1e-5, atol=1e-2
    )
