"""Points over HTTP: the files that the other doors write, and refused if they would be bent."""

import base64
import io
import json

import numpy as np
import pytest
from served import encoded, post, problem, serving
from tiny_scene import make_scene_artifact

from exports.photo_points import points_glb, points_of, points_ply
from exports.scene import scene_of
from exports.scene_files import asked_formats, scene_files
from runtime.predict.predictor import Predictor
from runtime.predict.scenes import ScenePredictor
from runtime.scene.focal import UPSTREAM_FOCAL_PX, PhotoCamera, camera_of

PLY, GLB = "application/x-ply", "model/gltf-binary"
PHOTO = (20, 30)


@pytest.fixture(scope="module")
def rgb(make_photo):
    return make_photo(*PHOTO)


@pytest.fixture(scope="module")
def metric(make_artifact):
    return make_artifact(kind="depth_m", model="vits-indoor")


@pytest.fixture(scope="module")
def metric_served(metric):
    with serving(metric.path) as server:
        yield server


def vertices(ply: bytes) -> np.ndarray:
    head, _, body = ply.partition(b"end_header\n")
    kinds = [(axis, "<f4") for axis in "xyz"] + [(name, "u1") for name in ("r", "g", "b")]
    found = np.frombuffer(body, np.dtype(kinds))
    assert f"element vertex {len(found)}\n".encode() in head
    return np.stack([found[axis] for axis in "xyz"], axis=1)


@pytest.mark.parametrize(("accept", "encode"), [(PLY, points_ply), (GLB, points_glb)])
@pytest.mark.parametrize(
    ("query", "camera"),
    [
        ("", camera_of(PHOTO, lambda: None)),
        ("?focal_px=50", PhotoCamera((50.0, 50.0))),
    ],
)
def test_points_of_a_photo_are_the_file_that_other_doors_write(
    accept, encode, query, camera, metric, metric_served, rgb
):
    address = "/v1/depth" + query
    status, headers, body = post(metric_served.base, encoded(rgb), {"Accept": accept}, address)
    assert (status, headers["Content-Type"]) == (200, accept), body
    found = Predictor([metric])(rgb)
    assert body == b"".join(encode(found, points_of(found, rgb, camera)))
    assert headers["X-Depth-Scale"] == "none: points"


def test_points_of_the_networks_grid_lie_in_the_same_place(metric, metric_served, rgb):
    headers = {"Accept": PLY}
    status, _, body = post(metric_served.base, encoded(rgb), headers, "/v1/depth?size=model")
    assert status == 200
    height, width = metric.manifest.input.size_hw
    found = vertices(body).reshape(height, width, 3)
    x = (np.arange(width) + 0.5) * PHOTO[1] / width - PHOTO[1] / 2
    y = (np.arange(height) + 0.5) * PHOTO[0] / height - PHOTO[0] / 2
    rays = found[..., :2] / found[..., 2:] * UPSTREAM_FOCAL_PX
    np.testing.assert_allclose(rays[..., 0], np.broadcast_to(x, (height, width)), atol=1e-4)
    np.testing.assert_allclose(
        rays[..., 1], np.broadcast_to(y[:, None], (height, width)), atol=1e-4
    )


def test_points_of_relative_depth_are_refused_and_made_by_known_points(
    tiny_artifact, tiny_served, rgb
):
    status, _, body = post(tiny_served.base, encoded(rgb), {"Accept": PLY})
    said = problem((status, _, body))
    assert (status, said["code"]) == (406, "not_acceptable")
    assert "points need metres, but this is disparity" in said["detail"]
    disparity = Predictor([tiny_artifact])(rgb).depth
    away = 1 / (0.1 + (disparity - disparity.min()) / np.ptp(disparity))  # metres, 0.9 to 10
    known = [[x, y, float(away[y, x])] for x in range(3, 28, 6) for y in range(2, 18, 5)]
    sent = {"image": base64.b64encode(encoded(rgb)).decode(), "points": known}
    headers = {"Content-Type": "application/json", "Accept": PLY}
    status, _, body = post(tiny_served.base, json.dumps(sent), headers)
    assert status == 200, body
    assert b"comment unit: metre" in body and b"metres_by" in body


@pytest.mark.parametrize(("accept", "name"), [(PLY, "ply"), (GLB, "glb")])
def test_points_of_a_scene_are_the_file_that_other_doors_write(accept, name, tmp_path, make_photo):
    artifact = make_scene_artifact(tmp_path, 2, (28, 42), seeded=True)
    photos = [make_photo(30, 40, seed) for seed in range(2)]
    scene = ScenePredictor([artifact])(photos)
    _, blocks = next(scene_files(scene_of(scene), asked_formats(name)))
    images = [base64.b64encode(encoded(photo)).decode() for photo in photos]
    headers = {"Content-Type": "application/json", "Accept": accept}
    with serving(artifact.path) as server:
        status, said, body = post(server.base, json.dumps({"images": images}), headers)
    assert (status, said["Content-Type"]) == (200, accept), body
    expected = b"".join(blocks)
    assert len(body) == len(expected) and body[:100] == expected[:100]
    trimesh = pytest.importorskip("trimesh", reason="trimesh is not installed")
    ours, theirs = (
        np.concatenate(
            [np.asarray(part.vertices) for part in parts(trimesh.load(io.BytesIO(data), name))]
        )
        for data in (body, expected)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def parts(found) -> list:
    return list(found.geometry.values()) if hasattr(found, "geometry") else [found]
