"""One program of a scene: an eager network and an artifact are asked the same in the same order."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from compile.job import CompileJob, compile_model
from compile.seeded import fill_seeded
from depth_anything_3 import config
from depth_anything_3.api import DepthAnything3
from layers.vit import VITS
from runtime.artifact.manifest import OutputSpec
from runtime.engines import load_engine
from runtime.engines.staged import StagedEngine
from runtime.errors import ArtifactError, InputError
from runtime.predict import scenes
from runtime.predict.found import ScenePrediction
from runtime.predict.predictor import Predictor
from runtime.predict.scenes import (
    SceneEngine,
    SceneOutput,
    ScenePredictor,
    align_to_given,
    run_scene,
)
from runtime.scene.cameras import inverse
from runtime.scene.query import SceneQuery
from runtime.scene.reference_view import STRATEGIES

SIZE, VIEWS = (28, 42), 4


def known_cameras(count: int, distance: float = 1.0) -> "tuple[np.ndarray, np.ndarray]":
    """Cameras on a curve, world-to-camera, that far from each other, and their intrinsics."""
    poses = np.stack([np.eye(4)] * count)
    for index, pose in enumerate(poses):
        pose[:3, 3] = np.array([index, 0.1 * index**2, 0.05 * index]) * distance
    lens = np.array([[40.0, 0, 21], [0, 40, 14], [0, 0, 1]])
    return inverse(poses), np.stack([lens] * count)


QUERIES = {
    **{strategy: SceneQuery(ref_view_strategy=strategy) for strategy in STRATEGIES},
    "rays": SceneQuery(use_ray_pose=True),
    "cameras": SceneQuery(*known_cameras(VIEWS)),
}


@pytest.fixture(scope="module")
def model() -> DepthAnything3:
    model = DepthAnything3("da3-small")
    fill_seeded(model)
    return model


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """da3-small for one and four views, as torchscript."""
    job = CompileJob(
        "da3-small",
        "torchscript",
        (SIZE,),
        output=tmp_path_factory.mktemp("artifacts"),
        seeded="always",
        views=(1, VIEWS),
    )
    return {artifact.manifest.views: artifact for artifact in compile_model(job)}


@pytest.fixture(scope="module")
def photos():
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    waves = [np.cos((x * (1 + i) + y * (3 - i)) / 5) for i in range(VIEWS)]
    return [(127 + 100 * w[..., None].repeat(3, -1)).astype(np.uint8) for w in waves]


def build_small(patch: pytest.MonkeyPatch, name: str) -> DepthAnything3:
    """The nested model, or its metric network, both small: what they find is in metres."""
    patch.setitem(VITS, "vitl", VITS["vitt"])
    patch.setitem(VITS, "vitg", VITS["vitt"])
    small = {"features": 32, "out_channels": (24, 48, 96, 192)}
    any_view = config.DA3Spec("vitg", config.ALTERNATING_TAPS, alternate_from=4, **small)
    patch.setitem(config.NETWORKS, "da3-giant", any_view)
    plain = config.DA3Spec("vitl", (2, 5, 8, 11), **small)
    patch.setitem(config.NETWORKS, "da3metric-large", plain)
    model = DepthAnything3(name)
    fill_seeded(model)
    return model


@pytest.fixture
def metric(monkeypatch):
    return functools.partial(build_small, monkeypatch)


@pytest.fixture(scope="module")
def nested(tmp_path_factory):
    """The nested model, eager and compiled for one and two views."""
    with pytest.MonkeyPatch.context() as patch:
        model = build_small(patch, "da3nested-giant-large")
        folder = tmp_path_factory.mktemp("nested")
        job = CompileJob(model.model_name, "torchscript", (SIZE,), output=folder, seeded="always")
        yield model, list(compile_model(dataclasses.replace(job, views=(1, 2))))


class Recorded:
    """Stages that keep what they were asked."""

    def __init__(self, stages) -> None:
        self.stages, self.asked = stages, []
        self.scenes, self.views = stages.scenes, stages.views
        self.camera_tokens, self.to_host = stages.camera_tokens, stages.to_host

    def __call__(self, stage, inputs):
        outputs = self.stages(stage, inputs)
        self.asked.append((stage, {name: tuple(array.shape) for name, array in inputs.items()}))
        return outputs


@pytest.mark.parametrize("name", QUERIES)
def test_an_eager_network_and_an_artifact_run_one_program(model, artifacts, name):
    images = np.random.RandomState(1).standard_normal((VIEWS, 3, *SIZE)).astype(np.float32)
    eager = Recorded(model.model.stages(1, VIEWS, SIZE))
    compiled = Recorded(StagedEngine(artifacts[VIEWS]))
    with torch.no_grad():
        expected = run_scene(eager, torch.from_numpy(images), QUERIES[name])
    found = run_scene(compiled, images, QUERIES[name])
    assert found.references == expected.references
    for what in ("depth", "depth_conf", "extrinsics", "intrinsics"):
        ours, theirs = np.asarray(getattr(found, what)), np.asarray(getattr(expected, what))
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max(), what
    together = [asked for asked in compiled.asked if asked[0] != scenes.RAY_HEAD]
    assert eager.asked == together  # an eager head decodes rays with depth
    assert (scenes.RAY_HEAD in dict(compiled.asked)) == (name == "rays")


def test_both_doors_follow_the_program(model, artifacts, monkeypatch):
    """What the program decides is decided in one place: change it, and both answer otherwise."""
    images = np.random.RandomState(1).standard_normal((VIEWS, 3, *SIZE)).astype(np.float32)
    tensor, engine = torch.from_numpy(images)[None], SceneEngine(artifacts[VIEWS])
    before = model(tensor)["depth"][0].numpy(), engine(images).depth
    monkeypatch.setattr(scenes, "choose_reference", lambda tokens, strategy: VIEWS - 1)
    after = model(tensor)["depth"][0].numpy(), engine(images).depth
    for one, other in zip(before, after):
        assert np.abs(one - other).max() > 1e-3 * np.abs(one).max()
    assert np.abs(after[0] - after[1]).max() <= 1e-4 * np.abs(after[0]).max()


def test_scenes_of_a_batch_go_through_the_stages_together(model):
    images = torch.randn(2 * 3, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    stages = Recorded(model.model.stages(2, 3, SIZE, (0, 9)))
    query = SceneQuery(export_feat_layers=(0, 9))
    with torch.no_grad():
        both = run_scene(stages, images, query)
        alone = [
            run_scene(model.model.stages(1, 3, SIZE, (0, 9)), some, query)
            for some in images.split(3)
        ]
    assert len(stages.asked) == 4 and stages.asked[0][1]["image"][0] == 6
    assert both.references == [one.references[0] for one in alone]
    for what in ("depth", "depth_conf", "ray", "extrinsics", "intrinsics"):
        expected = np.concatenate([np.asarray(getattr(one, what)) for one in alone])
        assert np.allclose(np.asarray(getattr(both, what)), expected, rtol=1e-4, atol=1e-5), what
    for layer in (0, 9):
        expected = torch.cat([one.layers[layer] for one in alone])
        assert torch.allclose(both.layers[layer], expected, rtol=1e-3, atol=1e-4)


def test_a_stage_is_loaded_when_it_is_first_needed(artifacts, photos):
    loaded = []

    def load(folder, manifest, device, threads, stage):
        loaded.append((stage.name, device, threads))
        return load_engine(folder, manifest, device, threads, stage)

    predictor = ScenePredictor([artifacts[VIEWS]], "cpu", 1, load)
    assert loaded == []
    predictor(photos)
    predictor(photos)
    usual = ["encoder_local", "encoder_global", "depth_head", "camera_decoder"]
    assert loaded == [(name, "cpu", 1) for name in usual]
    predictor(photos, use_ray_pose=True)
    predictor(photos, *known_cameras(VIEWS))
    assert [name for name, *_ in loaded[4:]] == ["ray_head", "camera_encoder"]


def test_a_loader_of_other_engines_takes_the_place_of_the_graphs(artifacts, photos):
    def load(folder, manifest, device, threads, stage):
        outputs = {t.name: np.ones(t.shape, np.float32) for t in stage.outputs}
        return lambda inputs: outputs

    prediction = ScenePredictor([artifacts[VIEWS]], load=load)(photos[:2])
    assert prediction.depth.shape == (2, *SIZE) and (prediction.depth == 1).all()

    def broken(folder, manifest, device, threads, stage):
        outputs = {t.name: np.full(t.shape, np.nan, np.float32) for t in stage.outputs}
        return lambda inputs: outputs

    with pytest.raises(ArtifactError, match="encoder_local returned tokens with values that are n"):
        ScenePredictor([artifacts[VIEWS]], load=broken)(photos)


@pytest.mark.parametrize("count, views", [(1, 1), (2, 4), (3, 4), (4, 4), (6, 4)])
def test_the_artifact_that_runs_is_the_one_that_is_named(artifacts, photos, count, views):
    ran = []

    def load(folder, manifest, device, threads, stage):
        ran.append(manifest.views)
        return load_engine(folder, manifest, device, threads, stage)

    predictor = ScenePredictor([artifacts[1], artifacts[VIEWS]], load=load)
    assert predictor.artifact_for(count) is artifacts[views]
    predictor([photos[index % VIEWS] for index in range(count)])
    assert set(ran) == {views}


def test_three_photos_share_a_scale_though_single_views_are_compiled_too(artifacts, photos):
    found = ScenePredictor([artifacts[1], artifacts[VIEWS]])(photos[:3])
    expected = ScenePredictor([artifacts[VIEWS]])(photos[:3])
    assert found.groups == () and np.array_equal(found.depth, expected.depth)
    apart = ScenePredictor([artifacts[1]])(photos[:3])
    assert apart.groups == ((0,), (1,), (2,))


def test_an_artifact_is_not_asked_for_what_it_has_not(artifacts, photos):
    predictor = ScenePredictor([artifacts[VIEWS]])
    for asked in ({"infer_gs": True}, {"export_feat_layers": (3,)}):
        with pytest.raises(InputError, match="no artifact has them; use DepthAnything3"):
            predictor(photos, **asked)


def metres(count: int) -> ScenePrediction:
    """A scene of which the network says: two metres everywhere, cameras a metre apart."""
    extrinsics, intrinsics = known_cameras(count)
    return ScenePrediction(
        depth=np.full((count, 2, 3), 2.0, np.float32),
        kind="depth_m",
        extrinsics=extrinsics[:, :3],
        intrinsics=intrinsics,
    )


def test_depth_in_the_unit_of_given_cameras_is_not_called_metres():
    found = align_to_given(metres(3), SceneQuery(*known_cameras(3, distance=10)))
    assert np.allclose(found.depth, 20) and found.depth.dtype == np.float32
    assert (found.kind, found.unit, found.is_metric) == ("depth", "relative", 0)
    assert np.allclose(found.extrinsics, known_cameras(3, distance=10)[0][:, :3])


def test_depth_that_nothing_rescaled_stays_metres(caplog):
    cameras = known_cameras(3, distance=10)
    moved = align_to_given(metres(3), SceneQuery(*cameras, align_to_input_ext_scale=False))
    assert np.allclose(moved.depth, 2) and moved.unit == "metre"
    assert np.allclose(moved.extrinsics, known_cameras(3)[0][:, :3], atol=1e-9)
    one = align_to_given(metres(1), SceneQuery(*known_cameras(1)))
    assert np.allclose(one.depth, 2) and one.is_metric == 1 and "tell no scale" in caplog.text
    free = metres(2)
    assert align_to_given(free, SceneQuery()) is free


def test_an_eager_network_that_finds_metres_says_which_unit_comes_back(metric, photos):
    model = metric("da3nested-giant-large")
    free = model.inference(photos[:3], process_res=42)
    assert free.unit == "metre"
    cameras = known_cameras(3)
    kept = model.inference(photos[:3], *cameras, False, process_res=42)
    given = model.inference(photos[:3], *cameras, process_res=42)
    assert (kept.kind, given.kind) == ("depth_m", "depth") and given.is_metric == 0
    far = model.inference(photos[:3], *known_cameras(3, distance=10), process_res=42)
    assert np.allclose(far.depth, 10 * given.depth, rtol=1e-3) and far.unit == "relative"


def test_a_nested_model_is_one_artifact_whose_metres_the_host_finds(nested, photos):
    model, (_, artifact) = nested
    assert [stage.name for stage in artifact.manifest.stages][-1] == scenes.METRIC
    assert artifact.manifest.output.kind == "depth_m"
    cases = [case.input for case in artifact.manifest.parity.cases]
    assert {"photo: metric depth", "photo: metric sky", "photo: whole depth"} <= set(cases)
    eager = model.inference(photos[:2], process_res=42)
    found = ScenePredictor([artifact])(photos[:2])
    assert eager.scale_factor != pytest.approx(1, rel=0.1), "metres are another unit"
    assert (found.unit, found.is_metric) == ("metre", 1)
    assert found.scale_factor == pytest.approx(eager.scale_factor, rel=1e-4)
    for name in ("depth", "conf", "extrinsics", "intrinsics"):
        expected = getattr(eager, name)
        np.testing.assert_allclose(getattr(found, name), expected, rtol=2e-4, atol=2e-4)
    np.testing.assert_array_equal(found.sky, eager.sky)


def test_views_that_fill_a_graph_take_no_part_in_the_metres():
    depth = np.stack([np.full((8, 8), 2.0), np.full((8, 8), 2.0), np.full((8, 8), 50.0)])
    conf, (extrinsics, intrinsics) = np.full(depth.shape, 2.0), known_cameras(3)
    intrinsics[:, [0, 1], [0, 1]] = 300  # at which the metric network's numbers are metres
    output = SceneOutput(depth, conf, extrinsics[:, :3], intrinsics, [0])
    maps = {"depth": 3 * depth, "sky": np.zeros(depth.shape)}
    maps["depth"][2] = 1
    found = scenes._in_metres(output, maps, 2)
    assert found.scale_factor == pytest.approx(3) and len(found.depth) == len(found.sky) == 2
    np.testing.assert_allclose(found.depth, 6)
    np.testing.assert_allclose(found.extrinsics[:, :, 3], 3 * extrinsics[:2, :3, 3])
    assert scenes._in_metres(output, maps, None).scale_factor < 1, "all three otherwise"


def test_a_photo_alone_through_a_nested_model_is_in_metres(nested, photos):
    model, (artifact, _) = nested
    eager = model.inference(photos[:1], process_res=42)
    found = Predictor([artifact])(photos[0])
    assert found.output.kind == "depth_m"
    np.testing.assert_allclose(found.depth, eager.depth[0], rtol=2e-4, atol=2e-4)


def test_an_artifact_that_finds_metres_says_which_unit_comes_back(artifacts, photos):
    manifest = dataclasses.replace(artifacts[VIEWS].manifest, output=OutputSpec("depth_m"))
    predictor = ScenePredictor([dataclasses.replace(artifacts[VIEWS], manifest=manifest)])
    cameras = known_cameras(VIEWS)
    assert predictor(photos).unit == "metre"
    assert predictor(photos, *cameras, align_to_input_ext_scale=False).unit == "metre"
    given = predictor(photos, *cameras)
    assert (given.kind, given.unit, given.is_metric) == ("depth", "relative", 0)
    # of two groups one tells no scale: together they are not metres
    extrinsics, intrinsics = known_cameras(7)
    extrinsics[3:] = extrinsics[3]
    mixed = predictor([photos[i % VIEWS] for i in range(7)], extrinsics, intrinsics)
    assert len(mixed.groups) == 2 and mixed.kind == "depth"


def test_sky_is_filled_by_its_own_scene_alone(metric):
    model = metric("da3metric-large")
    images = torch.randn(2, 1, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    images[1] *= 5
    with torch.no_grad():
        sky = model.model.depth_and_sky(images.flatten(0, 1))[1]
        threshold = float(sky.median())
        model.model.head.scratch.sky_output_conv2[-1].bias += 0.3 - threshold  # half of it is sky
    both = model(images)
    for scene in range(2):
        alone = model(images[scene : scene + 1])
        is_sky = (alone["sky"] >= 0.3).float().mean()
        assert 0.05 < is_sky < 0.95
        assert torch.allclose(both["depth"][scene], alone["depth"][0], rtol=1e-4, atol=1e-5)


def test_cameras_of_another_number_of_views_are_refused(model):
    images = torch.zeros(1, 3, 3, *SIZE)
    extrinsics, intrinsics = (torch.from_numpy(c)[None] for c in known_cameras(2))
    with pytest.raises(InputError, match=r"extrinsics are \(1, 2, 4, 4\), expected \(1, 3, 4, 4\)"):
        model(images, extrinsics, intrinsics)
