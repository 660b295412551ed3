"""Scenes over HTTP: depth and cameras as the predictor finds them, and what they are."""

import base64
import io
import json

import numpy as np
import pytest
from served import Served, encoded, post, serving
from tiny_scene import make_scene_artifact

from runtime.errors import InputError
from runtime.predict.found import SEEDED
from runtime.predict.predictor import Predictor
from runtime.predict.scenes import ScenePredictor
from serve.http import model as model_module
from serve.http.model import Model
from serve.http.options import Options
from serve.http.request_body import DepthRequest

SIZE = (28, 42)
PHOTO = (30, 40)
KEYS = [("photo", 0), *(("scene", SIZE, views) for views in (1, 2, 4))]  # of what has a cost
JSON = {"Content-Type": "application/json", "Accept": "application/json"}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """For 1, 2 and 4 views, with random weights."""
    root = tmp_path_factory.mktemp("scenes")
    return {views: make_scene_artifact(root, views, SIZE, seeded=True) for views in (1, 2, 4)}


@pytest.fixture(scope="module")
def photos(make_photo):
    return [make_photo(*PHOTO, seed) for seed in range(6)]


@pytest.fixture(scope="module")
def served(artifacts):
    with serving(artifacts[1].path.parent) as server:
        yield server


def ask(served: Served, photos, path: str = "/v1/depth", **more):
    """Photos in JSON: status, headers, and the facts that come back."""
    images = [base64.b64encode(encoded(rgb)).decode() for rgb in photos]
    status, headers, body = post(served.base, json.dumps({"images": images, **more}), JSON, path)
    return status, headers, json.loads(body)


def array(packed) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(packed["base64"]), packed["dtype"])
    return data.reshape(packed["shape"])


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_a_scene_is_the_predictors_and_says_what_it_is(count, served, artifacts, photos):
    expected = ScenePredictor(list(artifacts.values()))(photos[:count])
    parts = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        + encoded(photo)
        + b"\r\n"
        for photo in photos[:count]
    )
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    status, headers, body = post(served.base, parts + b"--x--\r\n", form)
    assert status == 200, body
    with np.load(io.BytesIO(body), allow_pickle=False) as found:
        facts = json.loads(str(found["meta"]))
        for name in ("depth", "conf", "extrinsics", "intrinsics"):
            np.testing.assert_allclose(found[name], getattr(expected, name), rtol=1e-6, atol=1e-6)
    assert facts.items() >= expected.facts().items()
    assert facts["warning"] == headers["X-Depth-Warning"] == SEEDED
    assert facts["weights"]["source"] == "seeded"
    assert f"warning={SEEDED};kind=depth" in headers["X-Amzn-SageMaker-Custom-Attributes"]
    assert (headers["X-Depth-Kind"], headers["X-Depth-Size"]) == ("depth", "28x42")


@pytest.mark.parametrize(("count", "views"), [(2, 2), (4, 4), (6, 4)])
def test_the_artifact_that_ran_is_named(count, views, served, artifacts, photos):
    _, headers, facts = ask(served, photos[:count])
    assert facts["artifact"] == {
        "name": artifacts[views].manifest.name,
        "digest": artifacts[views].digest,
    }
    assert headers["X-Depth-Artifact"] == artifacts[views].digest


def test_known_cameras_come_back_and_each_photo_has_its_own_grid(served, photos):
    extrinsics = np.tile(np.eye(4), (2, 1, 1))
    extrinsics[1, 0, 3] = 1.0
    intrinsics = np.tile([[90, 0, 20], [0, 90, 15], [0, 0, 1.0]], (2, 1, 1))
    status, headers, facts = ask(
        served,
        photos[:2],
        extrinsics=extrinsics.tolist(),
        intrinsics=intrinsics.tolist(),
        size="input",
    )
    assert status == 200, facts
    assert array(facts["depth_1"]).shape == PHOTO and "size" not in facts
    assert (facts["grid"], headers["X-Depth-Size"]) == ("photo", "per photo")
    np.testing.assert_allclose(array(facts["intrinsics"]), intrinsics)
    np.testing.assert_allclose(array(facts["extrinsics"]), extrinsics[:, :3], atol=1e-6)


def test_a_photo_alone_goes_through_the_graph_of_one_view(served, artifacts, photos):
    headers = {"Accept": "application/x-npy"}
    status, said, body = post(served.base, encoded(photos[0]), headers)
    assert status == 200 and said["X-Depth-Artifact"] == artifacts[1].digest
    found = np.load(io.BytesIO(body), allow_pickle=False)
    np.testing.assert_array_equal(found, Predictor([artifacts[1]])(photos[0]).depth)


IDENTITY = np.eye(3).tolist()


@pytest.mark.parametrize(
    ("count", "more", "detail"),
    [
        (2, {"focal_px": 100}, "focal_px: the depth of da3-small does not depend on it"),
        (1, {"focal_px": 100}, "focal_px: the depth of da3-small does not depend on it"),
        (1, {"intrinsics": [IDENTITY]}, "intrinsics: the depth of da3-small does not depend"),
        (2, {"intrinsics": [IDENTITY] * 2}, "give extrinsics and intrinsics together, or neither"),
    ],
)
def test_a_focal_length_that_does_nothing_is_refused(count, more, detail, served, photos):
    status, _, facts = ask(served, photos[:count], **more)
    assert (status, facts["code"]) == (400, "bad_photo") and detail in facts["detail"]


def test_a_picture_is_no_answer_to_a_scene(served, photos):
    images = [base64.b64encode(encoded(rgb)).decode() for rgb in photos[:2]]
    headers = {"Content-Type": "application/json", "Accept": "image/png"}
    status, _, body = post(served.base, json.dumps({"images": images}), headers)
    assert (status, json.loads(body)["code"]) == (406, "not_acceptable")


def test_a_scene_that_would_not_fit_is_refused_before_it_is_computed(served, make_photo):
    large = [make_photo(700, 900, seed) for seed in range(3)]
    status, headers, facts = ask(served, large, size="input")
    assert (status, facts["code"]) == (413, "answer_too_large")
    assert "9.6 MiB of application/json, limit 6" in facts["detail"]
    assert "Server-Timing" not in headers


# -- the model, without a server ------------------------------------------------------------------


def asked(count: int) -> DepthRequest:
    photo = np.full((*PHOTO, 3), 90, np.uint8)
    return DepthRequest(photos=(photo,) * count, sizes_hw=(PHOTO,) * count, options=Options())


@pytest.fixture
def model(artifacts) -> Model:
    return Model(list(artifacts.values()))


def test_a_graph_that_photos_and_scenes_share_is_loaded_once(artifacts, monkeypatch):
    loaded = []
    load = model_module.load_engine

    def counted(folder, manifest, device, threads, stage):
        loaded.append((folder.name, stage.name))
        return load(folder, manifest, device, threads, stage)

    monkeypatch.setattr(model_module, "load_engine", counted)
    Model([artifacts[1], artifacts[2]]).warm_up()
    stages = ["camera_decoder", "depth_head", "encoder_global", "encoder_local"]
    names = [artifacts[views].path.name for views in (1, 2)]
    assert sorted(loaded) == [(name, stage) for name in names for stage in stages]


def test_a_scene_costs_its_passes_through_the_graphs_it_takes(model):
    for views, seconds in ((1, 1.0), (2, 3.0), (4, 7.0)):
        model.costs.start(("scene", SIZE, views), seconds)
    handler = model.handler_of(asked(2))
    costs = {count: handler.cost_s(asked(count)) for count in (2, 4, 6, 8)}
    assert costs == {2: 3.0, 4: 7.0, 6: 14.0, 8: 21.0}, "groups of 4 overlap by one"


@pytest.mark.parametrize("count", [1, 2, 6])
def test_what_a_request_costs_is_learned_on_every_call(count, model):
    model.warm_up()
    request = asked(count)
    handler = model.handler_of(request)
    task = handler.prepare(request, lambda photo: photo, "application/x-npz")
    lane = handler.lane(task)
    others = {key: model.costs[key] for key in KEYS if key != lane.key}
    model.costs.start(lane.key, 100.0)
    before = handler.cost_s(request)
    lane.run([task])
    assert 0.8 * before <= handler.cost_s(request) < 0.85 * before, "a fifth is the newest call's"
    assert others == {key: model.costs[key] for key in others}


def test_warming_up_measures_every_graph(model):
    assert [model.costs[key] for key in KEYS] == [0] * 4
    model.warm_up()
    assert all(model.costs[key] > 0 for key in KEYS)


@pytest.mark.parametrize(
    ("count", "cameras", "detail"),
    [
        (2, False, "2 photos: vits takes one photo a request, without extrinsics; a scene needs an "
         r"any-view model \(da3-small, da3-base, ...\)"),
        (1, True, "extrinsics: vits takes one photo a request"),
    ],
)  # fmt: skip
def test_a_model_of_single_photos_says_what_takes_scenes(count, cameras, detail, tiny_artifact):
    request = asked(count)
    if cameras:
        object.__setattr__(request, "extrinsics", np.eye(4)[None])
    with pytest.raises(InputError, match=detail):
        Model([tiny_artifact]).handler_of(request)


def test_a_model_of_scenes_alone_takes_a_photo_as_a_scene_of_one(artifacts):
    model = Model([artifacts[2]])
    request = asked(1)
    handler = model.handler_of(request)
    task = handler.prepare(request, lambda photo: photo, "application/x-npz")
    (found,) = handler.lane(task).run([task])
    assert found.depth.shape == (1, *SIZE)
