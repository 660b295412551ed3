"""Staged artifacts: what the runtime makes of several photos of a scene is what the model makes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from apps.compiled import choose_or_compile
from apps.folder import FolderJob
from apps.scene_folder import run_scene_folder
from compile.deploy import COMMON
from compile.fixed import AddUVEmbedding
from compile.job import CompileJob, compile_model
from compile.seeded import fill_seeded
from compile.stages import stages_of
from compile.targets.neuron import REWRITES as FOR_NEURON
from compile.trace import trace
from depth_anything_3.api import DepthAnything3
from layers.uv_embed import add_uv_embedding
from runtime.artifact.folder import read_artifact
from runtime.artifact.manifest import InputSpec, OutputSpec
from runtime.engines import available
from runtime.engines.staged import CAMERA_TOKENS
from runtime.errors import ArtifactError, InputError
from runtime.predict.choose import SCENE
from runtime.predict.predictor import Predictor
from runtime.predict.scenes import DEPTH_HEAD, ENCODER_GLOBAL, RAY_HEAD, SceneEngine, ScenePredictor
from runtime.scene.cameras import inverse
from runtime.scene.query import SceneQuery
from runtime.scene.reference_view import STRATEGIES
from runtime.scene.views import fit_view, make_view, stack_views

SIZE = (56, 84)
VIEWS = (1, 2, 4)


@pytest.fixture(scope="module")
def model() -> DepthAnything3:
    model = DepthAnything3("da3-small")
    fill_seeded(model)
    return model


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """da3-small for 1, 2 and 4 views as torchscript."""
    job = CompileJob(
        "da3-small",
        "torchscript",
        (SIZE,),
        output=tmp_path_factory.mktemp("artifacts"),
        seeded="always",
        views=VIEWS,
    )
    return {artifact.manifest.views: artifact for artifact in compile_model(job)}


@pytest.fixture(scope="module")
def photos():
    y, x = np.mgrid[0:70, 0:100]
    waves = [np.cos((x * (1 + i) + y * (3 - i)) / 9) for i in range(4)]
    rng = np.random.RandomState(0)
    return [
        np.clip(127 + 60 * w[..., None] + rng.normal(0, 20, (70, 100, 3)), 0, 255).astype(np.uint8)
        for w in waves
    ]


def cameras(count: int) -> "tuple[np.ndarray, np.ndarray]":
    """Cameras on an arc, world-to-camera, and intrinsics of the photos."""
    poses = np.stack([np.eye(4)] * count)
    for index, pose in enumerate(poses):
        angle = 0.2 * index
        pose[:3, :3] = [
            [np.cos(angle), 0, np.sin(angle)],
            [0, 1, 0],
            [-np.sin(angle), 0, np.cos(angle)],
        ]
        pose[:3, 3] = [0.5 * index, 0.1 * index**2, 0.05 * index]
    intrinsics = np.array([[90.0, 0, 50], [0, 90, 35], [0, 0, 1]])
    return inverse(poses), np.stack([intrinsics] * count)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-3) -> bool:
    return bool(np.abs(found - expected).max() <= tolerance * np.abs(expected).max())


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("views", VIEWS)
def test_a_staged_artifact_equals_the_model(model, artifacts, photos, views, strategy):
    images = stack_views([fit_view(photo, SIZE) for photo in photos[:views]])
    expected = model(torch.from_numpy(images)[None], ref_view_strategy=strategy)
    found = SceneEngine(artifacts[views])(images, SceneQuery(ref_view_strategy=strategy))
    assert close(found.depth, expected["depth"][0].numpy())
    assert close(found.depth_conf, expected["depth_conf"][0].numpy())
    assert close(found.extrinsics, expected["extrinsics"][0].numpy())
    assert close(found.intrinsics, expected["intrinsics"][0].numpy())


@pytest.mark.skipif(not available("openvino"), reason="openvino is not installed")
@pytest.mark.parametrize("views", [1, 2, 4])
def test_a_staged_openvino_artifact_equals_the_model(model, tmp_path, photos, views):
    job = CompileJob(
        "da3-small", "openvino", (SIZE,), output=tmp_path, seeded="always", views=(views,)
    )
    (artifact,) = compile_model(job)
    images = stack_views([fit_view(photo, SIZE) for photo in photos[:views]])
    for strategy in STRATEGIES if views > 2 else STRATEGIES[:1]:
        expected = model(torch.from_numpy(images)[None], ref_view_strategy=strategy)
        found = SceneEngine(artifact)(images, SceneQuery(ref_view_strategy=strategy))
        assert close(found.depth, expected["depth"][0].numpy())
        assert close(found.extrinsics, expected["extrinsics"][0].numpy())


def test_rays_and_known_cameras_go_through_stages_too(model, artifacts, photos):
    engine = SceneEngine(artifacts[4])
    images = stack_views([fit_view(photo, SIZE) for photo in photos])
    tensor = torch.from_numpy(images)[None]
    expected = model(tensor, use_ray_pose=True)
    found = engine(images, SceneQuery(use_ray_pose=True))
    assert close(found.depth, expected["depth"][0].numpy())
    extrinsics, intrinsics = cameras(4)
    given = [torch.from_numpy(c).float()[None] for c in (extrinsics, intrinsics)]
    expected = model(tensor, *given)
    found = engine(images, SceneQuery(extrinsics, intrinsics))
    assert close(found.depth, expected["depth"][0].numpy())
    assert close(found.extrinsics, expected["extrinsics"][0].numpy())


def test_the_manifest_names_stages_tensors_and_their_order(artifacts):
    manifest = read_artifact(artifacts[2].path).manifest
    assert manifest.name == "da3-small-56x84-v2-torchscript" and manifest.views == 2
    assert [stage.name for stage in manifest.stages] == [
        "encoder_local", "encoder_global", "depth_head", "ray_head", "camera_decoder",
        "camera_encoder",
    ]  # fmt: skip
    encoder = manifest.stage(ENCODER_GLOBAL)
    assert [tensor.name for tensor in encoder.inputs] == ["tokens", "camera_tokens"]
    assert encoder.outputs[-1].name == "camera" and encoder.outputs[0].shape == (2, 24, 768)
    whole = [case for case in manifest.parity.cases if ": whole " in case.input]
    assert len(whole) == 12 and len(manifest.parity.cases) > 12
    assert any(file.name == CAMERA_TOKENS for file in manifest.files)


def test_one_view_artifacts_serve_single_photos(model, artifacts, photos):
    prediction = Predictor([artifacts[1]])(photos[0])
    assert prediction.depth.shape == (70, 100) and prediction.output.kind == "depth"
    images = stack_views([make_view(photos[0], min(SIZE), "lower_bound_resize")])
    expected = model(torch.from_numpy(images)[None])["depth"][0, 0].numpy()
    assert close(prediction.depth[0, 0], expected[0, 0])
    with pytest.raises(ArtifactError, match="takes 4 photos of one scene; use --views all"):
        Predictor([artifacts[4]])


def test_a_scene_that_fits_goes_in_one_pass(artifacts, photos):
    prediction = ScenePredictor(list(artifacts.values()))(photos)
    assert prediction.depth.shape == (4, *SIZE) and prediction.groups == ()
    assert prediction.kind == "depth" and prediction.unit == "relative"
    assert prediction.extrinsics.shape == (4, 3, 4)
    assert prediction.processed_images.shape == (4, *SIZE, 3)


def test_known_cameras_come_back_and_set_the_scale(artifacts, photos):
    predictor = ScenePredictor([artifacts[4]])
    extrinsics, intrinsics = cameras(4)
    one = predictor(photos, extrinsics, intrinsics)
    assert np.allclose(one.extrinsics, extrinsics[:, :3])
    twice = extrinsics.copy()
    twice[:, :3, 3] *= 2
    other = predictor(photos, twice, intrinsics)
    assert close(other.depth, 2 * one.depth, 1e-4)
    scaled = intrinsics[0] * [[84 / 100], [56 / 70], [1]]
    assert np.allclose(one.intrinsics[0], scaled)


def test_more_photos_than_views_are_grouped_and_joined(artifacts, photos):
    many = [photos[index % 4] for index in range(7)]
    prediction = ScenePredictor([artifacts[4]])(many)
    assert prediction.depth.shape == (7, *SIZE)
    assert prediction.groups == ((0, 1, 2, 3), (3, 4, 5, 6))
    assert np.isfinite(prediction.extrinsics).all() and (prediction.depth > 0).all()
    alone = ScenePredictor([artifacts[4]])(many[:4])
    assert np.array_equal(prediction.depth[:3], alone.depth[:3])
    assert np.allclose(prediction.depth[3], alone.depth[3], rtol=0.1), "of both groups"


def test_a_folder_becomes_one_scene_with_its_cameras(artifacts, photos, tmp_path):
    source = tmp_path / "room"
    source.mkdir()
    for name, photo in zip(("a.png", "b.png", "c.png", "d.png"), photos):
        Image.fromarray(photo).save(source / name)
    (source / "bad.png").write_bytes(b"no photo")
    job = FolderJob(source, tmp_path / "out", ("npz",))
    outcomes = list(run_scene_folder(job, ScenePredictor([artifacts[4]])))
    assert [o.photo.name for o in outcomes if o.error] == ["bad.png"]
    assert [o.photo.name for o in outcomes if not o.error] == ["a.png", "b.png", "c.png", "d.png"]
    facts = json.loads((tmp_path / "out" / "cameras.json").read_text())
    assert [photo["name"] for photo in facts["photos"]] == ["a.png", "b.png", "c.png", "d.png"]
    assert facts["unit"] == "relative" and facts["weights"]["source"] == "seeded"
    expected = ScenePredictor([artifacts[4]])(photos)
    one = facts["photos"][2]
    assert one["size"] == {"height": 70, "width": 100}
    assert np.allclose(one["world_to_camera"], expected.extrinsics[2])
    assert one["intrinsics"][0][0] == pytest.approx(expected.intrinsics[2, 0, 0] * 100 / 84)
    assert one["intrinsics"][0][2] == pytest.approx(50)  # the photo's own centre
    with np.load(tmp_path / "out" / "c.png.npz", allow_pickle=False) as file:
        assert file["depth"].shape == (70, 100)
        assert close(file["depth"][0, 0], expected.depth[2, 0, 0])
    with pytest.raises(InputError, match="not one photo can be read"):
        list(
            run_scene_folder(
                FolderJob(source / "bad.png", tmp_path / "x"), ScenePredictor([artifacts[4]])
            )
        )


def test_a_model_without_scenes_says_which_have_them():
    with pytest.raises(InputError, match="takes each photo for itself; use one of da3-small"):
        choose_or_compile("vits", [Path("a.png")], SCENE)


def test_scenes_with_wrong_input_are_refused(artifacts, photos):
    predictor = ScenePredictor([artifacts[2]])
    extrinsics, intrinsics = cameras(2)
    with pytest.raises(InputError, match="no photo given"):
        predictor([])
    with pytest.raises(InputError, match="together, or neither"):
        predictor(photos[:2], extrinsics)
    with pytest.raises(InputError, match="2 extrinsics for 3 photos"):
        predictor(photos[:3], extrinsics, intrinsics)
    with pytest.raises(InputError, match="use one of saddle_balanced"):
        predictor(photos[:2], ref_view_strategy="best")


def test_a_damaged_camera_token_file_is_refused(artifacts, tmp_path):
    import shutil

    folder = tmp_path / artifacts[1].path.name
    shutil.copytree(artifacts[1].path, folder)
    (folder / CAMERA_TOKENS).write_bytes(b"not an array")
    with pytest.raises(ArtifactError, match="its bytes are not those the manifest names"):
        ScenePredictor([read_artifact(folder)])
    with pytest.raises(ArtifactError, match="cannot be read"):
        SceneEngine(read_artifact(folder))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_and_a_column_add_what_the_embeddings_map_does(dtype):
    maps = torch.randn(2, 12, 8, 15, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = AddUVEmbedding(12, (8, 15), (4, 5), maps)(maps)
    assert found.dtype == dtype and torch.equal(found, add_uv_embedding(maps, (4, 5)))


def test_no_graph_of_a_head_stores_a_map_of_constants(model):
    stages = stages_of(model.model, InputSpec((280, 504)), OutputSpec("depth"), 1)
    for stage in stages:
        if stage.name in (DEPTH_HEAD, RAY_HEAD):
            shapes = [tuple(one.shape) for one in stage.make(COMMON).buffers()]
            assert len(shapes) == 10 and all(1 in shape[2:] for shape in shapes), stage.name


@pytest.mark.parametrize("views", [1, 3])
def test_every_stage_runs_whole_on_the_chip(model, views):
    from compile.audit import audit_graph

    stages = stages_of(model.model, InputSpec(SIZE), OutputSpec("depth"), views)
    assert len(stages) == 6
    for stage in stages:
        report = audit_graph(trace(stage.make(FOR_NEURON), stage.example()), stage.name, "")
        assert report.placed == 1 and report.passes, stage.name
        kinds = {row.kind for row in report.rows}
        assert not kinds & {"aten::embedding", "aten::index_put_", "aten::copy_"}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"views": (2,), "model": "vits"}, "takes each photo for itself; use --batch"),
        ({"batch": 2}, "takes --views of one scene"),
        ({"views": (0,)}, "give numbers of 1 or more"),
        ({"pixels": "rgb"}, "take normalised images"),
    ],
)
def test_what_cannot_be_compiled_is_refused(change, message, tmp_path):
    facts = {"model": "da3-small", "target": "torchscript", "sizes_hw": ((28, 28),), **change}
    with pytest.raises(InputError, match=message):
        list(compile_model(CompileJob(output=Path(tmp_path), seeded="always", **facts)))
