"""The project keeps its own rules: the menu, the README, no stray hosts."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from compile.registry import table

ROOT = Path(__file__).parent.parent
MENU = (
    "setup checkpoints compile plan inference test test-all check bench evaluate train-demo serve "
    "video da3 backend gallery app viewers batch package deploy invoke update undeploy clean"
)
BINARY = {".png", ".jpg", ".npz", ".ply", ".glb", ".bin", ".safetensors"}
TARGETS = set(MENU.split(" "))
# `make test` inside another make hands that one's flags down, and they change what make prints
OUTSIDE_MAKE = {
    k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
}


def tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.splitlines()]


def test_make_alone_prints_every_target():
    done = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, env=OUTSIDE_MAKE)
    assert done.returncode == 0
    assert all(f"make {target} " in done.stdout for target in TARGETS)


def test_make_clean_removes_output_depth_and_nothing_else():
    done = subprocess.run(
        ["make", "-n", "clean"], cwd=ROOT, capture_output=True, text=True, env=OUTSIDE_MAKE
    )
    assert done.stdout.strip() == "rm -rf output_depth"


def test_readme_prints_the_registrys_table():
    assert table() in (ROOT / "README.md").read_text()


def test_readme_names_only_targets_that_exist():
    named = set(re.findall(r"\bmake ([a-z0-9-]+)\b", (ROOT / "README.md").read_text()))
    assert {"inference", "test", "compile"} <= named <= TARGETS


def test_every_link_between_documents_leads_somewhere():
    for file in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text()):
            assert (file.parent / link).exists(), f"{file}: {link}"


def test_no_package_registry_and_no_machines_path_is_written_down():
    forbidden = re.compile(
        r"index-"
        + r"url|pypi\."
        + r"org|python"
        + r"hosted|/sim"
        + r"ple\b|[\"'= (]/(?:root|home|work)/"
    )
    for file in tracked():
        if file.suffix in BINARY or not file.is_file():
            continue
        found = forbidden.search(file.read_text(encoding="utf-8"))
        assert not found, f"{file}: {found and found.group()}"


def test_shipped_photos_have_an_origin():
    note = (ROOT / "input_images" / "ORIGIN.md").read_text()
    photos = [path for path in (ROOT / "input_images").iterdir() if path.suffix in (".png", ".jpg")]
    assert len(photos) >= 3
    assert all(photo.name in note for photo in photos)
