"""Facts about Inferentia: cores that an artifact takes, and one table of instances for all."""

import dataclasses

import pytest

from runtime.artifact.manifest import SCHEMA_VERSION, from_json, to_json
from runtime.engines.inferentia import CORES_A_CHIP, INF1, INF2, cores_of
from runtime.errors import ArtifactError
from serve.sagemaker.instances import INSTANCES


def told(artifact, **compiler):
    return dataclasses.replace(artifact.manifest, target="neuron", compiler=compiler)


@pytest.mark.parametrize(
    "compiler, cores",
    [
        ({}, 1),  # another target, or neuronx
        ({"pipeline_cores": "1", "casts": "all"}, 1),
        ({"pipeline_cores": "4"}, 4),
        ({"encoder_local: pipeline_cores": "2", "encoder_global: pipeline_cores": "4"}, 4),
        ({"camera_decoder: pipeline_cores": "1", "encoder_global: casts": "9"}, 1),
    ],
)
def test_an_artifact_takes_the_cores_of_its_largest_graph(tiny_artifact, compiler, cores):
    assert cores_of(told(tiny_artifact, **compiler)) == cores


@pytest.mark.parametrize("text", ["four", "0", "-1", "", "1.5"])
def test_a_number_of_cores_that_is_none_is_refused(tiny_artifact, text):
    with pytest.raises(ArtifactError, match="expected a number of cores"):
        cores_of(told(tiny_artifact, pipeline_cores=text))


def test_a_manifest_as_older_compiles_wrote_it_still_loads(tiny_artifact):
    manifest = told(tiny_artifact, **{"encoder_global: pipeline_cores": "4"})
    assert SCHEMA_VERSION == 3
    assert cores_of(from_json(to_json(manifest))) == 4


@pytest.mark.parametrize(
    "name, cores, vcpus",
    [
        ("inf1.xlarge", 4, 4),
        ("inf1.2xlarge", 4, 8),
        ("inf1.6xlarge", 16, 24),
        ("inf1.24xlarge", 64, 96),
        ("inf2.xlarge", 2, 4),
        ("inf2.8xlarge", 2, 32),
        ("inf2.24xlarge", 12, 96),
        ("inf2.48xlarge", 24, 192),
    ],
)
def test_sagemaker_has_the_cores_and_vcpus_of_the_instance_itself(name, cores, vcpus):
    (row,) = (row for row in (*INF1, *INF2) if row.name == name)
    assert (row.cores, row.vcpus) == (cores, vcpus)
    sold = INSTANCES[f"ml.{name}"]
    assert (sold.cores, sold.vcpus, sold.targets) == (cores, vcpus, (row.target,))
    assert sold.environment(commercial_only=True)["DEPTH_WORKERS"] == str(cores)


def test_every_chip_has_the_cores_of_its_family():
    assert {row.target for row in INF1} == {"neuron"} and {row.target for row in INF2} == {
        "neuronx"
    }
    assert all(row.cores == row.chips * CORES_A_CHIP[row.target] for row in (*INF1, *INF2))
