"""The bundles of the pages: as they were built, small, licensed, and asking nobody else."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from serve.http.viewers import VIEWERS, viewer_bytes

ROOT = Path(__file__).parents[1]
BUILT, SOURCE = ROOT / "serve/http/viewers", ROOT / "deploy/viewers"
MOST_BYTES = {"points.js": 1_000_000, "splats.js": 3_500_000}


@pytest.mark.parametrize("name", MOST_BYTES)
def test_a_bundle_is_the_one_that_make_viewers_built(name):
    sums = dict(line.split()[::-1] for line in (BUILT / "SHA256SUMS").read_text().splitlines())
    data = viewer_bytes(name)
    assert hashlib.sha256(data).hexdigest() == sums[name], "run `make viewers`"
    assert len(data) < MOST_BYTES[name]
    assert b"</script" not in data.lower(), "it could not stand in a page"


def test_the_lock_file_pins_every_package_by_its_hash_and_names_no_place():
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert all("integrity" in one and "resolved" not in one for one in packages.values())
    asked = json.loads((SOURCE / "package.json").read_text())
    for name, version in {**asked["dependencies"], **asked["devDependencies"]}.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), "a pin, so that a build can be repeated"
        assert packages[f"node_modules/{name}"]["version"] == version


def test_the_licences_lie_beside_them():
    text = viewer_bytes("LICENCES.txt").decode()
    lock = json.loads((SOURCE / "package-lock.json").read_text())["packages"]
    for name in ("three", "@sparkjsdev/spark", "fflate"):
        assert f"{name} {lock[f'node_modules/{name}']['version']} (MIT)" in text
    assert text.count("Permission is hereby granted") == 3
    assert {file.name for file in BUILT.iterdir()} == {*VIEWERS, "SHA256SUMS"}
