"""NeuronCores and workers: how many fit, and which cores are whose. No chip is needed for that."""

import dataclasses
import os
from types import SimpleNamespace

import pytest

from runtime.engines.inferentia import CORE_COUNT, CORES_CHOSEN, visible_cores
from runtime.errors import InputError
from runtime.predict.choose import Choice
from serve.http.neuron_cores import core_variables, cores_a_worker
from serve.http.server import Server, worker_count
from serve.http.settings import Settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in (CORE_COUNT, CORES_CHOSEN):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def for_neuron(make_artifact):
    """An artifact as if it had been compiled for Inf1, by what its manifest says of its cores."""
    artifact = make_artifact()

    def build(target: str = "neuron", **compiler: str):
        manifest = dataclasses.replace(artifact.manifest, target=target, compiler=compiler)
        return dataclasses.replace(artifact, manifest=manifest)

    return build


@pytest.fixture
def two_chips(tmp_path):
    for name in ("neuron0", "neuron1", "neuron_core", "null"):
        (tmp_path / name).touch()
    return tmp_path


def test_there_is_a_worker_for_each_neuroncore(two_chips):
    assert worker_count(Settings(), "neuron", two_chips) == 8
    assert worker_count(Settings(), "neuronx", two_chips) == 4
    assert worker_count(Settings(), "openvino", two_chips) == 1
    assert worker_count(Settings(workers=3), "neuron", two_chips) == 3


@pytest.mark.parametrize(("cores", "workers"), [(2, 4), (3, 2), (4, 2), (8, 1), (16, 1)])
def test_a_pipeline_of_several_cores_has_fewer_workers(cores, workers, two_chips):
    assert worker_count(Settings(), "neuron", two_chips, cores) == workers


@pytest.mark.parametrize(
    ("compiler", "expected"),
    [
        ({}, 1),
        ({"pipeline_cores": "4"}, 4),
        ({"encoder_global: pipeline_cores": "3", "depth_head: flags": "x"}, 3),
    ],
)
def test_a_worker_has_the_cores_that_its_artifact_needs(compiler, expected, for_neuron):
    artifacts = [for_neuron(), for_neuron(**compiler)]
    cores = cores_a_worker(artifacts, {})
    assert core_variables("neuron", 0, cores, {}) == {CORE_COUNT: str(expected)}


def test_the_operators_own_count_stands(for_neuron, two_chips):
    environment = {CORE_COUNT: "2"}
    cores = cores_a_worker([for_neuron(pipeline_cores="4")], environment)
    assert worker_count(Settings(), "neuron", two_chips, cores, environment) == 4
    assert core_variables("neuron", 3, cores, environment) == {CORE_COUNT: "2"}


def test_cores_that_are_named_are_shared_out():
    environment = {CORES_CHOSEN: "2-4,7"}
    assert visible_cores("2-4,7") == [2, 3, 4, 7]
    each = [core_variables("neuron", place, 1, environment) for place in range(4)]
    assert [variables[CORES_CHOSEN] for variables in each] == ["2", "3", "4", "7"]
    assert core_variables("neuron", 1, 2, environment) == {CORES_CHOSEN: "4,7"}
    assert worker_count(Settings(), "neuron", cores=2, environment=environment) == 2
    assert core_variables("openvino", 0, 1, environment) == {}


@pytest.mark.parametrize("text", ["5-3", "2,2", "0-3,2", "1,0-1"])
def test_cores_that_are_none_or_named_twice_are_refused(text):
    with pytest.raises(InputError, match="a range of none, or a core named twice"):
        visible_cores(text)


@pytest.mark.parametrize(
    ("text", "each"),
    [("2-3", ["2", "3"]), ("0,2-4", ["0", "2", "3", "4"]), ("5", ["5"]), (" 6 - 7 , 1 ", "671")],
)
def test_every_way_to_name_cores_is_split_among_the_workers(text, each):
    environment = {CORES_CHOSEN: text}
    assert worker_count(Settings(), "neuron", environment=environment) == len(each)
    seen = [core_variables("neuron", place, 1, environment) for place in range(len(each))]
    assert [variables[CORES_CHOSEN] for variables in seen] == list(each)


@pytest.mark.parametrize("text", ["", "a", "1-", "1,,2", "-3", "0-99999999999", "\u00b2"])
def test_cores_that_are_no_cores_are_refused(text):
    with pytest.raises(InputError, match="give cores as 2, 0-3 or 0,2"):
        visible_cores(text)


def test_a_count_that_is_none_is_refused(for_neuron):
    with pytest.raises(InputError, match="NEURON_RT_NUM_CORES='four': give a whole number"):
        cores_a_worker([for_neuron()], {CORE_COUNT: "four"})


def server(artifact, tmp_path, **settings) -> Server:
    return Server(Settings(**settings), Choice((artifact,)), tmp_path)


def test_more_workers_than_cores_are_refused_at_the_start(for_neuron, tmp_path, monkeypatch):
    monkeypatch.setenv(CORES_CHOSEN, "0-2")
    said = "2 workers of 2 NeuronCores each, and NEURON_RT_VISIBLE_CORES=0-2 names 3"
    with pytest.raises(InputError, match=said):
        server(for_neuron(pipeline_cores="2"), tmp_path, workers=2)


def cores_of_workers(server: Server, monkeypatch, *ages: int) -> "list[str]":
    """What each of these workers finds in its environment, one forked after the other."""
    found = []
    for age in ages:
        worker = SimpleNamespace(age=age, pid=age)
        server._forking(None, worker)
        with monkeypatch.context() as child:
            child.setattr(os, "environ", dict(os.environ))
            server._forked(None, worker)
            found.append(os.environ[CORES_CHOSEN])
        server.seen[age] = worker
    return found


def test_a_worker_that_replaces_another_gets_its_cores(for_neuron, tmp_path, monkeypatch):
    monkeypatch.setenv(CORES_CHOSEN, "4-6")
    served = server(for_neuron(), tmp_path)
    served.seen = {}
    assert cores_of_workers(served, monkeypatch, 1, 2, 3) == ["4", "5", "6"]
    served._ended(None, served.seen[2])
    assert cores_of_workers(served, monkeypatch, 4) == ["5"]
    served._ended(None, served.seen[4])
    served._ended(None, served.seen[1])
    assert sorted(cores_of_workers(served, monkeypatch, 5, 6)) == ["4", "5"]
