"""An eager mono or metric model answers photos as it answers scenes: the same numbers by both."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from apps.scene_models import EagerScene
from apps.web.eager import EagerModel
from compile.seeded import fill_seeded
from depth_anything_3 import config
from runtime.artifact.manifest import WeightsSpec
from runtime.errors import InputError
from runtime.photo.decode import read_photo
from runtime.photo.postprocess import resize_to_photo
from runtime.predict.found import Provenance
from runtime.scene.known_points import KnownPoints
from serve.http.options import Options
from serve.http.request_body import DepthRequest

METRIC, RES, HW = "da3metric-large", 70, (48, 64)


@pytest.fixture(scope="module")
def scenes():
    """The metric model, small, with random weights."""
    from depth_anything_3.api import DepthAnything3
    from layers.vit import VITS

    small = config.DA3Spec("vitl", (2, 5, 8, 11), 64, config.SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VITS, "vitl", VITS["vits"])
        patch.setitem(config.NETWORKS, METRIC, small)
        model = DepthAnything3(METRIC)
    fill_seeded(model)
    model.provenance = Provenance(METRIC, WeightsSpec("checkpoint", "0" * 64, "Apache-2.0", "w"))
    found = EagerScene(METRIC, None, "cpu", RES, None)
    found._model = model
    return found


@pytest.fixture(scope="module")
def served(scenes):
    model = EagerModel(scenes)
    model.warm_up()
    return model


@pytest.fixture(scope="module")
def photo():
    rgb = np.random.RandomState(0).randint(0, 255, (*HW, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()


def asked(*photos, **more):
    options = Options(**{name: more.pop(name) for name in ("focal_px", "size") if name in more})
    return DepthRequest(photos, tuple(HW for _ in photos), options, **more)


def answer(model, request):
    """Depth and facts, the way the service goes."""
    media_type = "application/x-npz"
    handler = model.handler_of(request)
    handler.check(request, media_type)
    assert handler.values(request, media_type) and handler.cost_s(request) > 0
    task = handler.prepare(request, lambda one: read_photo(one), media_type)
    (result,) = handler.lane(task).run([task])
    body = handler.encode(request, task, result, media_type, {}).body
    with np.load(io.BytesIO(body)) as found:
        facts = json.loads(str(found["meta"]))
        return found[facts["kind"]], facts


def test_a_photo_is_what_inference_finds_on_the_photos_pixels(served, scenes, photo):
    depth, facts = answer(served, asked(photo))
    own = scenes._model.inference([read_photo(photo)], process_res=RES)
    np.testing.assert_allclose(depth, resize_to_photo(own.depth[0], HW), rtol=1e-5)
    assert facts["kind"] == "depth" and facts["model"] == METRIC
    small, facts = answer(served, asked(photo, size="model"))
    np.testing.assert_allclose(small, own.depth[0], rtol=1e-5)


def test_a_focal_length_makes_metres_of_it_as_inference_does(served, scenes, photo):
    own = scenes._model.inference([read_photo(photo)], process_res=RES, focal_px=600.0)
    lens = np.array([[[600.0, 0, 32], [0, 600, 24], [0, 0, 1]]])
    for known in ({"focal_px": 600.0}, {"intrinsics": lens}):
        depth, facts = answer(served, asked(photo, **known))
        assert facts["kind"] == "depth_m" and facts["unit"] == "metre"
        np.testing.assert_allclose(depth, resize_to_photo(own.depth[0], HW), rtol=1e-5)


def test_known_points_make_metres_of_it(served, photo):
    plain, _ = answer(served, asked(photo))
    places = np.array([[4.0, 5.0], [50.0, 8.0], [20.0, 40.0], [60.0, 44.0]])
    metres = np.array([3 * plain[int(y), int(x)] + 1 for x, y in places])
    points = KnownPoints(places, metres)
    depth, facts = answer(served, asked(photo, points=points))
    assert facts["kind"] == "depth_m" and facts["metres_by"]
    np.testing.assert_allclose(depth, 3 * plain + 1, rtol=0.02)


def test_several_photos_are_a_scene_that_it_knows_nothing_of(served, photo):
    with pytest.raises(InputError, match="2 photos: da3metric-large takes one photo a request"):
        served.handler_of(asked(photo, photo))
    poses = np.eye(4)[None]
    with pytest.raises(InputError, match="extrinsics: da3metric-large takes one photo"):
        served.handler_of(asked(photo, extrinsics=poses))
