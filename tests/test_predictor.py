"""Photo to depth through real, tiny graphs: which one runs, in what batch, what is refused."""

import shutil
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtime.artifact.folder import Artifact, read_artifact
from runtime.engines import load_engine
from runtime.errors import ArtifactError, InputError
from runtime.photo.postprocess import resize_to_photo
from runtime.photo.preprocess import photo_to_tensor
from runtime.predict.buckets import nearest_bucket, scene_bucket
from runtime.predict.found import ArtifactName
from runtime.predict.predictor import Predictor

BUCKETS = ((28, 28), (28, 42), (42, 28))

sides = st.integers(1, 4000)
buckets = st.lists(st.tuples(*[st.integers(1, 80).map(lambda n: n * 14)] * 2), min_size=1)


@pytest.fixture(scope="module")
def bucket_artifacts(make_artifact) -> list[Artifact]:
    return [make_artifact(size_hw=size_hw) for size_hw in BUCKETS]


@pytest.fixture(scope="module")
def batch_artifacts(make_artifact) -> list[Artifact]:
    return [make_artifact(size_hw=size_hw, batch=3) for size_hw in BUCKETS]


def ratio_of(size_hw: tuple[int, int]) -> float:
    return size_hw[0] / size_hw[1]


@given(buckets, st.data(), st.integers(1, 9))
def test_a_photo_of_exactly_a_buckets_ratio_picks_that_ratio(sizes_hw, data, factor):
    height, width = data.draw(st.sampled_from(sizes_hw))
    picked = sizes_hw[nearest_bucket((height * factor, width * factor), sizes_hw)]
    assert picked[0] * width == picked[1] * height


@given(sides, sides, buckets)
def test_no_other_bucket_stretches_the_photo_less(height, width, sizes_hw):
    def stretch(size_hw: tuple[int, int]) -> float:
        between = ratio_of(size_hw) / ratio_of((height, width))
        return max(between, 1 / between)

    picked = sizes_hw[nearest_bucket((height, width), sizes_hw)]
    assert stretch(picked) <= min(map(stretch, sizes_hw)) * (1 + 1e-8)


@given(sides, sides, buckets)
def test_a_turned_photo_among_turned_buckets_picks_the_same(height, width, sizes_hw):
    turned = [(w, h) for h, w in sizes_hw]
    assert nearest_bucket((width, height), turned) == nearest_bucket((height, width), sizes_hw)


areas_differ = st.lists(st.tuples(sides, sides), min_size=1, unique_by=lambda hw: hw[0] * hw[1])


@given(sides, sides, areas_differ, st.randoms(use_true_random=False))
def test_the_order_of_buckets_of_different_area_does_not_matter(height, width, sizes_hw, random):
    shuffled = random.sample(sizes_hw, len(sizes_hw))
    picked = sizes_hw[nearest_bucket((height, width), sizes_hw)]
    assert shuffled[nearest_bucket((height, width), shuffled)] == picked


def test_of_buckets_with_one_ratio_the_largest_is_picked():
    assert nearest_bucket((100, 100), [(14, 14), (56, 56), (28, 28)]) == 1


def test_a_scene_goes_to_the_bucket_of_its_median_shape():
    sizes_hw = [(28, 42), (42, 28), (28, 28)]
    assert scene_bucket([(40, 30), (30, 40), (30, 44)], sizes_hw) == 0
    assert scene_bucket([(40, 30), (30, 40)], sizes_hw) == 2  # as many upright as not


@pytest.mark.parametrize(
    ("photo_hw", "bucket"), [((50, 50), 0), ((40, 60), 1), ((60, 40), 2), ((1, 900), 1)]
)
def test_a_photo_goes_to_the_graph_of_its_shape(photo_hw, bucket, bucket_artifacts, make_photo):
    prediction = Predictor(bucket_artifacts)(make_photo(*photo_hw))
    expected = bucket_artifacts[bucket]
    assert prediction.provenance.artifact == ArtifactName(expected.manifest.name, expected.digest)
    assert prediction.input == expected.manifest.input


@pytest.mark.parametrize("photo_hw", [(20, 30), (28, 42), (100, 33), (1, 1), (1, 200)])
def test_depth_is_on_the_photos_grid_and_equals_the_stages_by_hand(
    photo_hw, bucket_artifacts, make_photo
):
    rgb = make_photo(*photo_hw)
    prediction = Predictor(bucket_artifacts)(rgb)
    assert prediction.depth.dtype == np.float32 and prediction.depth.shape == photo_hw
    tensor = photo_to_tensor(rgb, prediction.input.size_hw)
    by_hand = resize_to_photo(tensor.mean(axis=1)[0] * 2 + 10, photo_hw)
    np.testing.assert_allclose(prediction.depth, by_hand, rtol=1e-5)


@pytest.mark.parametrize("kind", ["disparity", "depth", "depth_m"])
def test_a_prediction_says_its_kind_and_its_times(kind, make_artifact, make_photo):
    artifact = make_artifact(kind=kind)
    predictor = Predictor([artifact])
    prepared = predictor.prepare(make_photo())
    prediction, seconds = predictor.finish(prepared, *predictor.infer([prepared])[0])
    assert prediction.output == artifact.manifest.output and prediction.output.kind == kind
    assert set(seconds) == {"preprocess", "inference", "postprocess"}
    assert all(took >= 0 for took in seconds.values())


def infer_together(predictor: Predictor, photos: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [depth for depth, _ in predictor.infer([predictor.prepare(rgb) for rgb in photos])]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_batch_full_or_padded_answers_what_singles_answer(
    count, bucket_artifacts, batch_artifacts, make_photo
):
    photos = [make_photo(30, 30, seed) for seed in range(count)]
    together = infer_together(Predictor(batch_artifacts), photos)
    single = Predictor(bucket_artifacts)
    alone = [infer_together(single, [rgb])[0] for rgb in photos]
    assert len(together) == count
    np.testing.assert_array_equal(together, alone)


def test_the_order_of_a_batch_is_the_order_of_the_answers(batch_artifacts, make_photo):
    predictor = Predictor(batch_artifacts)
    photos = [make_photo(30, 30, seed) for seed in range(3)]
    forwards, backwards = (infer_together(predictor, turn) for turn in (photos, photos[::-1]))
    np.testing.assert_array_equal(forwards, backwards[::-1])
    assert not np.array_equal(forwards[0], forwards[1])


def test_too_many_photos_for_a_batch_are_refused(batch_artifacts, make_photo):
    with pytest.raises(InputError, match="4 photos for 1 graphs: give 1 to 3 for one"):
        infer_together(Predictor(batch_artifacts), [make_photo(30, 30)] * 4)


def test_photos_for_different_graphs_are_refused_as_one_batch(batch_artifacts, make_photo):
    with pytest.raises(InputError, match="2 photos for 2 graphs"):
        infer_together(Predictor(batch_artifacts), [make_photo(30, 30), make_photo(30, 60)])


def test_no_photo_is_refused_as_a_batch(batch_artifacts):
    with pytest.raises(InputError, match="0 photos for 0 graphs"):
        Predictor(batch_artifacts).infer([])


@pytest.mark.parametrize("rgb", [np.zeros((3, 4, 5), np.uint8), np.full((4, 4, 3), 300.0)])
def test_an_array_that_is_not_a_photo_is_refused(rgb, tiny_artifact):
    with pytest.raises(InputError, match=r"photo is .*, expected"):
        Predictor([tiny_artifact])(rgb)


def test_grey_transparent_and_float_arrays_are_the_photos_that_they_show(tiny_artifact, make_photo):
    rgb, predictor = make_photo(), Predictor([tiny_artifact])
    for same in (rgb / 255, np.dstack([rgb, rgb[..., :1]]), Image.fromarray(rgb)):
        np.testing.assert_array_equal(predictor(same).depth, predictor(rgb).depth)
    grey = np.repeat(rgb[..., :1], 3, axis=2)
    np.testing.assert_array_equal(predictor(rgb[..., 0]).depth, predictor(grey).depth)


def test_no_artifact_is_refused():
    with pytest.raises(ArtifactError, match="no artifact given; make one with `make compile`"):
        Predictor([])


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"model": "vitb"}, "model: vitb and vits"),
        ({"kind": "depth"}, "output: "),
        ({"weights_sha256": "1" * 64}, "weights: "),
        ({"seeded": True}, "weights: "),
    ],
    ids=["model", "kind", "weights", "seeded"],
)
def test_artifacts_of_different_compiles_are_refused(other, what, tiny_artifact, make_artifact):
    artifact = make_artifact(size_hw=(28, 42), **other)
    with pytest.raises(ArtifactError, match=f"differ in {what}.*give artifacts of one compile"):
        Predictor([tiny_artifact, artifact])


def test_artifacts_of_different_batches_are_refused(tiny_artifact, make_artifact):
    with pytest.raises(ArtifactError, match="have different batches"):
        Predictor([tiny_artifact, make_artifact(batch=2)])


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_graph_that_returns_no_numbers_is_refused(number, make_artifact, make_photo):
    artifact = make_artifact(shift=number)
    with pytest.raises(ArtifactError, match=r"784 values that are not finite, .*rebuild it"):
        Predictor([artifact])(make_photo())


def test_a_graph_that_returns_another_shape_is_refused(tiny_artifact, make_photo, monkeypatch):
    predictor = Predictor([tiny_artifact])
    monkeypatch.setattr(
        predictor, "_engine", lambda _: lambda _: {"disparity": np.zeros((1, 1, 28, 28))}
    )
    with pytest.raises(ArtifactError, match=r"returned \(1, 1, 28, 28\).*expected \(1, 28, 28\)"):
        predictor(make_photo())


def test_a_damaged_artifact_is_refused_before_it_is_loaded(tiny_artifact, tmp_path):
    path = tmp_path / "damaged"
    shutil.copytree(tiny_artifact.path, path)
    with (path / "graph.pt").open("ab") as file:
        file.write(b"!")
    with pytest.raises(ArtifactError, match="damaged, or edited after the compile"):
        Predictor([read_artifact(path)])


def test_warming_up_runs_every_graph_once(batch_artifacts, monkeypatch):
    shapes = []

    def counted(folder, manifest, device, threads):
        engine = load_engine(folder, manifest, device, threads)

        def run(inputs):
            shapes.append(inputs["image"].shape)
            return engine(inputs)

        return run

    monkeypatch.setattr("runtime.predict.predictor.load_engine", counted)
    Predictor(batch_artifacts).warm_up()
    assert shapes == [(3, 3, *size_hw) for size_hw in BUCKETS]


def test_a_graph_is_loaded_once_and_only_when_needed(bucket_artifacts, make_photo, monkeypatch):
    loaded = []

    def counted(folder, manifest, device, threads):
        loaded.append(manifest.input.size_hw)
        return load_engine(folder, manifest, device, threads)

    monkeypatch.setattr("runtime.predict.predictor.load_engine", counted)
    predictor = Predictor(bucket_artifacts)
    assert loaded == []
    for _ in range(2):
        predictor(make_photo(30, 60))
    assert loaded == [(28, 42)]


def test_a_device_that_does_not_exist_is_refused(tiny_artifact, make_photo):
    with pytest.raises(InputError, match="device='tpu': use one of auto, cpu, cuda"):
        Predictor([tiny_artifact], device="tpu")(make_photo())
