"""The extras of pyproject.toml: each names only what exists, and the pins satisfy it."""

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OURS = PROJECT["name"]
UNPINNED = {"neuron", "otel"}  # AWS's own index; nothing of ours runs it in tests
PYTHONS = {"py39.txt": ["3.9"], "current.txt": ["3.10", "3.11", "3.12"]}


def expanded(extra, above=()):
    """Other people's requirements of an extra, those of extras that it names included."""
    assert extra in EXTRAS, f"{above}: no extra {extra}"
    assert extra not in above, f"{above}: {extra} is in itself"
    found = []
    for text in EXTRAS[extra]:
        wanted = Requirement(text)
        if wanted.name != OURS:
            found.append(wanted)
            continue
        assert wanted.extras and not wanted.specifier
        for inner in sorted(wanted.extras):
            found += expanded(inner, (*above, extra))
    return found


def pins(file, python):
    """Package -> the version that a file of constraints has for a Python on Linux."""
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    environment |= {"sys_platform": "linux", "platform_python_implementation": "CPython"}
    found = {}
    for line in (ROOT / "constraints" / file).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate(environment):
                found[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
    return found, environment


def test_upstreams_names_and_ours_are_there():
    assert {"da3", "video", "gs", "all"} <= set(EXTRAS)


@pytest.mark.parametrize("extra", sorted(EXTRAS))
def test_an_extra_names_only_what_is_there(extra):
    assert expanded(extra)


@pytest.mark.parametrize("extra", sorted(set(EXTRAS) - UNPINNED))
@pytest.mark.parametrize(
    ("file", "python"), [(file, python) for file in PYTHONS for python in PYTHONS[file]]
)
def test_the_pins_satisfy_an_extra(extra, file, python):
    pinned, environment = pins(file, python)
    for wanted in expanded(extra):
        if wanted.marker is not None and not wanted.marker.evaluate(environment):
            continue
        version = pinned.get(canonicalize_name(wanted.name))
        assert version is not None, f"{wanted} has no pin in {file}"
        assert wanted.specifier.contains(version, prereleases=True), f"{wanted}, but {version}"


def test_no_extra_is_from_a_repository_or_an_address():
    for extra in EXTRAS:
        assert not [str(one) for one in expanded(extra) if one.url]


def test_what_da3_brings():
    brought = {canonicalize_name(one.name) for one in expanded("da3")}
    assert {"torch", "av", "pillow-heif", "pyyaml", "huggingface-hub", "safetensors"} <= brought
    everything = {canonicalize_name(one.name) for one in expanded("all")}
    splats = {canonicalize_name(one.name) for one in expanded("gs")}
    assert "gsplat" in splats  # for CUDA alone, so it is asked for by name
    assert brought | splats - {"gsplat"} <= everything
    assert not {"gsplat", "gradio", "open3d", "xformers"} & everything


def test_messages_name_extras_that_bring_the_package():
    """``require("yaml", "da3")`` is true only if that extra has PyYAML."""
    modules = {"yaml": "pyyaml", "av": "av", "scipy": "scipy", "pillow_heif": "pillow-heif"}
    for room in ("runtime", "exports", "depth_anything_3", "metric_depth", "apps"):
        for file in (ROOT / room).rglob("*.py"):
            for module, extra in re.findall(
                r"require\(\s*\"([\w.]+)\",\s*\"(\w+)\"", file.read_text(encoding="utf-8")
            ):
                package = modules.get(module.partition(".")[0])
                brought = {canonicalize_name(one.name) for one in expanded(extra)}
                assert package is None or package in brought, f"{file}: {module}, {extra}"
