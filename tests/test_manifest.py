"""What an artifact may say of itself, and which claims are refused.

``python tests/test_manifest.py`` rewrites the golden file, after a change of format that was meant.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.artifact.manifest import (
    KINDS,
    PRECISIONS,
    SCHEMA_VERSION,
    TARGETS,
    FileSpec,
    InputSpec,
    Manifest,
    OutputSpec,
    ParityCase,
    ParityReport,
    StageSpec,
    TensorSpec,
    WeightsSpec,
    from_json,
    to_json,
)
from runtime.errors import ArtifactError, InputError

GOLDEN = Path(__file__).parent / "golden" / "manifest.json"

MANIFEST = Manifest(
    model="vits-indoor",
    family="v2",
    target="torchscript",
    precision="f32",
    stages=(
        StageSpec(
            "depth_m",
            "graph.pt",
            (TensorSpec("image", (4, 3, 518, 686)),),
            (TensorSpec("depth_m", (4, 518, 686)),),
        ),
    ),
    input=InputSpec((518, 686), batch=4),
    output=OutputSpec("depth_m", 20.0),
    weights=WeightsSpec("checkpoint", "ab" * 32, "Apache-2.0", "vits.pth"),
    rewrites=("position-embedding", "layer-scale"),
    compiler={},
    versions={"torch": "1.13.1", "python": "3.9.18"},
    parity=ParityReport(
        "passed", "eager float32", 1e-4, (ParityCase("photo", 3e-5, 7e-6, 1e-6, 0.99999),)
    ),
    files=(FileSpec("graph.pt", "cd" * 32, 1234), FileSpec("graph.bin", "ef" * 32, 0)),
)


def edited(change: Callable[[dict[str, Any]], Any]) -> str:
    """The golden manifest's text after a change to its parsed JSON."""
    facts = json.loads(to_json(MANIFEST))
    change(facts)
    return json.dumps(facts)


def test_the_bytes_of_a_manifest_never_change_unnoticed():
    assert to_json(MANIFEST).encode() == GOLDEN.read_bytes()


def test_a_manifest_written_earlier_is_still_read():
    assert from_json(GOLDEN.read_text(encoding="utf-8")) == MANIFEST


def test_the_same_manifest_gives_the_same_bytes_whatever_the_order_of_its_versions():
    turned = dict(reversed(list(MANIFEST.versions.items())))
    assert to_json(dataclasses.replace(MANIFEST, versions=turned)) == to_json(MANIFEST)


def test_a_file_named_twice_is_refused():
    with pytest.raises(InputError, match="named twice"):
        dataclasses.replace(MANIFEST, files=MANIFEST.files * 2)


def test_the_name_says_model_size_batch_and_target():
    assert MANIFEST.name == "vits-indoor-518x686-b4-torchscript"


def test_the_shape_is_batch_channels_height_width():
    assert MANIFEST.input.shape == (4, 3, 518, 686)


texts = st.text(max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
triples = st.tuples(numbers, numbers, numbers)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
files = st.builds(FileSpec, name=names, sha256=texts, bytes=st.integers(0, 2**63))
cases = st.builds(ParityCase, texts, numbers, numbers, numbers, numbers)
shapes = st.lists(st.integers(1, 9999), max_size=5).map(tuple)
tensors = st.lists(st.builds(TensorSpec, texts, shapes), max_size=3).map(tuple)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    patch = draw(st.integers(1, 20))
    sides = st.integers(1, 200).map(lambda n: n * patch)
    kind = draw(st.sampled_from(list(KINDS)))
    some = draw(st.lists(files, min_size=1, max_size=4, unique_by=lambda file: file.name))
    return Manifest(
        model=draw(names),
        family=draw(texts),
        target=draw(st.sampled_from(TARGETS)),
        precision=draw(st.sampled_from(PRECISIONS)),
        stages=tuple(
            draw(
                st.lists(
                    st.builds(
                        StageSpec,
                        name=texts,
                        graph=st.sampled_from([file.name for file in some]),
                        inputs=tensors,
                        outputs=tensors,
                    ),
                    min_size=1,
                    max_size=3,
                    unique_by=lambda stage: stage.name,
                )
            )
        ),
        input=InputSpec(
            draw(st.tuples(sides, sides)),
            draw(st.integers(1, 64)),
            draw(texts),
            patch,
            draw(triples),
            draw(st.tuples(*[st.floats(0.01, 10)] * 3)),
        ),
        output=OutputSpec(kind, draw(st.floats(0.5, 1e4)) if kind == "depth_m" else None),
        weights=WeightsSpec(
            draw(st.sampled_from(["checkpoint", "seeded"])),
            draw(texts),
            draw(texts),
            draw(st.none() | texts),
        ),
        rewrites=tuple(draw(st.lists(texts, max_size=3))),
        compiler=draw(st.dictionaries(texts, texts, max_size=3)),
        versions=draw(st.dictionaries(texts, texts, max_size=3)),
        parity=ParityReport(
            draw(st.sampled_from(["passed", "pending device"])),
            draw(texts),
            draw(numbers),
            tuple(draw(st.lists(cases, max_size=2))),
        ),
        files=tuple(some),
    )


@given(manifests())
def test_a_manifest_reads_back_as_it_was_written(manifest):
    text = to_json(manifest)
    assert from_json(text) == manifest
    assert to_json(from_json(text)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_the_text_says_the_unit_and_the_direction_of_each_kind(kind):
    output = OutputSpec(kind, 80.0 if kind == "depth_m" else None)
    facts = json.loads(to_json(dataclasses.replace(MANIFEST, output=output)))
    assert facts["output"] == {
        "kind": kind,
        "max_depth_m": 80.0 if kind == "depth_m" else None,
        "metric_focal_px": None,
        "unit": {"disparity": "relative", "depth": "relative", "depth_m": "metre"}[kind],
        "larger_is_nearer": kind == "disparity",
    }


def test_whole_numbers_are_read_where_a_float_is_expected():
    text = edited(lambda facts: facts["output"].update(max_depth_m=20))
    assert from_json(text).output.max_depth_m == 20.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda facts: facts.update(schema_version=SCHEMA_VERSION + 1),
            f"schema version {SCHEMA_VERSION + 1}, this package reads {SCHEMA_VERSION}; rebuild",
        ),
        (lambda facts: facts.update(schema_version="1"), "schema version '1', this package reads"),
        (lambda facts: facts.update(schema_version=True), "schema version True"),
        (lambda facts: facts.pop("schema_version"), "schema version None"),
        (lambda facts: facts.update(colour="red"), "manifest has .*'colour'.*, expected the field"),
        (lambda facts: facts["input"].update(colour="red"), "manifest.input has .*'colour'"),
        (lambda facts: facts.pop("weights"), "manifest has .* expected the fields .*'weights'"),
        (lambda facts: facts["weights"].pop("licence"), "manifest.weights has .*expected.*licence"),
        (lambda facts: facts.update(weights=[]), "manifest.weights has list, expected the fields"),
        (lambda facts: facts.update(output=None), "manifest.output has NoneType, expected"),
        (lambda facts: facts.update(model=7), "manifest.model is 7, expected str"),
        (lambda facts: facts.update(versions=[]), r"manifest.versions is \[\], expected an object"),
        (lambda facts: facts.update(versions={"torch": 2}), "versions.torch is 2, expected str"),
        (lambda facts: facts.update(rewrites="all"), "rewrites is 'all', expected a list"),
        (lambda facts: facts.update(rewrites=[1]), r"rewrites\[0\] is 1, expected str"),
        (lambda facts: facts["input"].update(batch=True), "batch is True, expected int"),
        (lambda facts: facts["input"].update(batch=1.0), "batch is 1.0, expected int"),
        (lambda facts: facts["input"].update(batch=0), "batch=0: use 1 or more"),
        (
            lambda facts: facts["input"].update(size_hw=[518]),
            r"size_hw is \[518\], expected a list",
        ),
        (lambda facts: facts["input"].update(size_hw=[518, 500]), "positive multiples of 14"),
        (lambda facts: facts["input"].update(size_hw=[0, 14]), "positive multiples of 14"),
        (lambda facts: facts["input"].update(patch_size=0), "positive multiples of 0"),
        (
            lambda facts: facts["input"].update(mean=[0.5, "a", 0.5]),
            r"mean\[1\] is 'a', expected f",
        ),
        (
            lambda facts: facts["input"].update(mean=[0.5, float("nan"), 0]),
            r"mean\[1\] is nan, exp",
        ),
        (lambda facts: facts["input"].update(dtype="int8"), "use one of float32, uint8"),
        (lambda facts: facts["input"].update(dtype="uint8"), "holds RGB 0..255"),
        (lambda facts: facts.update(compiler={"casts": 1}), "compiler.casts is 1, expected str"),
        (
            lambda facts: facts["input"].update(std=[float("inf"), 1, 1]),
            r"std\[0\] is inf, expecte",
        ),
        (
            lambda facts: facts["output"].update(kind="height"),
            "use one of disparity, depth, depth_",
        ),
        (lambda facts: facts["output"].update(unit="relative"), "claims .*not what depth_m means"),
        (lambda facts: facts["output"].update(larger_is_nearer=True), "not what depth_m means"),
        (
            lambda facts: facts["output"].pop("unit"),
            "claims .*'unit': None.*not what depth_m means",
        ),
        (
            lambda facts: facts.update(target="gpu"),
            "target='gpu': use one of neuron, neuronx, torchscript",
        ),
        (
            lambda facts: facts["stages"][0].update(graph="other.pt"),
            "graph 'other.pt' is not among the files",
        ),
        (lambda facts: facts["stages"].clear(), "one at least, each name once"),
        (lambda facts: facts["stages"].append(facts["stages"][0]), "one at least, each name once"),
        (
            lambda facts: facts["stages"][0]["inputs"][0].update(shape=[0, 3]),
            "'image': shape .0, 3., all must be positive",
        ),
        (lambda facts: facts["input"].update(resize="nearest"), "use one of cubic, cubic32, bytes"),
        (lambda facts: facts["weights"].update(source="web"), "use checkpoint or seeded"),
        (lambda facts: facts["parity"].update(status="failed"), "use 'passed' or 'pending device'"),
        (
            lambda facts: facts["files"][0].update(bytes="1234"),
            r"files\[0\].bytes is '1234', expec",
        ),
        (lambda facts: facts["files"].clear(), "graph 'graph.pt' is not among the files"),
    ],
)
def test_a_manifest_with_a_wrong_field_is_refused(change, message):
    with pytest.raises(ArtifactError, match=message):
        from_json(edited(change))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        ".hidden",
        "a b",
        "a\n",
        "a\0",
        "é",
        "C:",
    ],
)
def test_a_file_name_that_could_leave_the_folder_is_refused(name):
    with pytest.raises(InputError, match="must be a plain name without folders"):
        FileSpec(name, "", 0)
    with pytest.raises(ArtifactError, match="must be a plain name without folders"):
        from_json(edited(lambda facts: facts["files"][0].update(name=name)))


@pytest.mark.parametrize("text", ["", "{", "not json", "\0", '{"a": 1,}', "{'a': 1}", "\ufeff{}"])
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(
        ArtifactError, match=r"manifest is not JSON: .*; rebuild with `make compile`"
    ):
        from_json(text)


@pytest.mark.parametrize("text", ["null", "[]", "1", '"manifest"', "{}"])
def test_json_that_is_not_a_manifest_is_refused(text):
    with pytest.raises(ArtifactError, match="schema version None"):
        from_json(text)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_nested_without_end_is_refused(opening):
    with pytest.raises(ArtifactError, match="manifest is not JSON"):
        from_json(opening * 200_000)


def test_a_field_nested_without_end_is_refused():
    deep = "[" * 100_000 + "]" * 100_000
    with pytest.raises(ArtifactError, match="rebuild with `make compile`"):
        from_json(to_json(MANIFEST).replace('"f32"', deep))


def test_an_integer_too_large_for_a_float_is_refused():
    with pytest.raises(ArtifactError, match="max_depth_m"):
        from_json(edited(lambda facts: facts["output"].update(max_depth_m=10**400)))


def test_a_standard_deviation_of_zero_is_refused():
    with pytest.raises(InputError, match="std"):
        InputSpec((14, 14), std=(0.0, 1.0, 1.0))


def test_a_model_name_that_could_leave_the_folder_is_refused():
    with pytest.raises(InputError, match="model"):
        dataclasses.replace(MANIFEST, model="../vits")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def paths(value: Any, so_far: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a parsed JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    found = [so_far]
    for key in keys:
        inner = value[key]
        deeper = (*so_far, key)
        found += paths(inner, deeper) if isinstance(inner, (dict, list)) else [deeper]
    return found


@given(st.data())
def test_any_value_anywhere_gives_a_manifest_or_a_refusal(data):
    facts = json.loads(to_json(MANIFEST))
    *way, last = data.draw(st.sampled_from([path for path in paths(facts) if path]))
    place = facts
    for key in way:
        place = place[key]
    place[last] = data.draw(json_values)
    text = json.dumps(facts)
    try:
        manifest = from_json(text)
    except ArtifactError:
        return
    assert from_json(to_json(manifest)) == manifest


@pytest.mark.parametrize(
    ("kind", "unit", "larger_is_nearer"),
    [
        ("disparity", "relative", True),
        ("depth", "relative", False),
        ("depth_m", "metre", False),
    ],
)
def test_each_kind_has_one_unit_and_one_direction(kind, unit, larger_is_nearer):
    output = OutputSpec(kind, 20.0 if kind == "depth_m" else None)
    assert (output.unit, output.larger_is_nearer) == (unit, larger_is_nearer)


def test_seeded_weights_say_so():
    assert WeightsSpec("seeded", "", "none").seeded
    assert not WeightsSpec("checkpoint", "", "none").seeded


if __name__ == "__main__":
    GOLDEN.write_text(to_json(MANIFEST), encoding="utf-8")
