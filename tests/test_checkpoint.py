"""Weights of the table's models: found, fetched, verified, loaded, and said what they are."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from compile import checkpoint, fetch
from compile.__main__ import main
from compile.registry import MODELS
from compile.seeded import fill_seeded
from depth_anything_3.api import DepthAnything3
from depth_anything_3.config import RETRAINED
from depth_anything_v2.dpt import DepthAnythingV2
from layers.checkpoint import look_of
from runtime.artifact.manifest import WeightsSpec
from runtime.errors import CheckpointError

VITS = MODELS["vits"]
KEYS = Path(__file__).parent / "golden" / "keys"
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def state():
    model = DepthAnythingV2("vits").eval()
    fill_seeded(model)
    return model.state_dict()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Run in an empty folder, with no checkpoint folder named by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(fetch.FOLDER_VARIABLE, raising=False)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_checkpoint_is_loaded_and_its_hash_recorded(state, tmp_path, suffix):
    file = tmp_path / f"mine{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(state, str(file))
    model, weights = checkpoint.load_model(VITS, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert weights == WeightsSpec("checkpoint", digest, "Apache-2.0", file.name)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_weights_are_found_in_checkpoints_first_then_in_the_named_folder(tmp_path, monkeypatch):
    assert fetch.local_checkpoint(VITS) is None
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / VITS.file).write_bytes(b"a")
    monkeypatch.setenv(fetch.FOLDER_VARIABLE, str(shelf))
    assert fetch.local_checkpoint(VITS) == shelf / VITS.file
    Path("checkpoints").mkdir()
    (Path("checkpoints") / VITS.file).write_bytes(b"a")
    assert fetch.local_checkpoint(VITS) == Path("checkpoints") / VITS.file


@pytest.mark.parametrize(
    "name, file",
    [
        ("vits", "depth_anything_v2_vits.pth"),
        ("vits", "model.safetensors"),  # as transformers' repositories have it
        ("da3-small", "model.safetensors"),
        ("da3nested-giant-large-1.1", "model.safetensors"),
    ],
)
def test_a_folder_of_the_models_own_counts_after_checkpoints(tmp_path, monkeypatch, name, file):
    own, shelf = Path("models") / name / file, tmp_path / "shelf" / MODELS[name].file
    monkeypatch.setenv(fetch.FOLDER_VARIABLE, str(tmp_path / "shelf"))
    for place in (shelf, own, Path("checkpoints") / MODELS[name].file):
        place.parent.mkdir(parents=True)
        place.write_bytes(b"a")
        assert fetch.local_checkpoint(MODELS[name]) == place


def test_no_weights_and_no_network_says_where_to_put_them():
    done = subprocess.run(
        [sys.executable, "-m", "compile", "--model", "vits", "--target", "torchscript"],
        capture_output=True,
        text=True,
        env=OFFLINE,
    )
    assert done.returncode == 1
    assert "put the file into checkpoints/" in done.stderr
    assert "--seeded-weights" in done.stderr and "Traceback" not in done.stderr


def test_seeded_fallback_is_loud_and_recorded():
    arguments = ["--model", "vits", "--seeded-fallback", "--sizes", "28x28", "--output", "made"]
    command = [sys.executable, "-m", "compile", "--target", "torchscript", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=OFFLINE)
    assert done.returncode == 0, done.stderr
    assert "NO WEIGHTS for vits" in done.stderr
    manifest = json.loads(Path("made/vits-28x28-b1-torchscript/manifest.json").read_text())
    assert manifest["weights"]["source"] == "seeded"


def test_the_file_of_another_model_is_named(tmp_path):
    for model, other, said in (
        (DepthAnythingV2("vits"), "vitb", "vits, vits-indoor or vits-outdoor: use one of these"),
        (DepthAnythingV2("vitt"), "vits", "looks like demo: use that model"),
        (DepthAnything3("da3-small"), "vits", "looks like da3-small: use that model"),
        (DepthAnything3("da3-small"), "da3-base", "looks like da3-small: use that model"),
    ):
        file = tmp_path / "model.pth"
        torch.save(model.state_dict(), str(file))
        with pytest.raises(CheckpointError, match=f"does not fit {other}: .*{said}"):
            checkpoint.load_model(MODELS[other], file)


@pytest.mark.parametrize("name", [name for name, row in MODELS.items() if row.file])
def test_every_models_official_names_look_like_it(name):
    row = MODELS[name]
    first = name.replace("-1.1", "")
    keys = row.encoder if row.family == "v2" else first
    if name == "demo":
        state = DepthAnythingV2(row.encoder).state_dict()
    else:
        listed = KEYS / (f"v2_{keys}.json" if row.family == "v2" else f"{keys}.json")
        shapes = json.loads(listed.read_text())
        state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    state = {key.replace("model.", "", 1): value for key, value in state.items()}
    known = checkpoint.known_looks()
    assert known.keys() == MODELS.keys()
    assert look_of(state) == known[name]


def test_fallback_does_not_hide_a_checkpoint_that_does_not_fit(tmp_path, capsys):
    torch.save({"a": torch.zeros(1)}, str(tmp_path / "other.pth"))
    Path("checkpoints").mkdir()
    (tmp_path / "other.pth").rename(f"checkpoints/{VITS.file}")
    assert main(["--target", "torchscript", "--seeded-fallback", "--sizes", "28x28"]) == 1
    assert "does not fit" in capsys.readouterr().err


def test_unpublished_weights_are_not_looked_for():
    with pytest.raises(CheckpointError, match="published no weights"):
        fetch.fetch_checkpoint(MODELS["vitg"])


URL = "{repo_id}/resolve/{revision}/{filename}"


class Hub(http.server.BaseHTTPRequestHandler):
    """Enough of a model hub on loopback for one file."""

    body = b"weights" * 1000
    etag = hashlib.sha256(body).hexdigest()

    def do_HEAD(self):
        if not self.path.endswith(VITS.file):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("ETag", f'"{self.etag}"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        if self.path.endswith(VITS.file):
            self.wfile.write(self.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(request):
    handler = type("ThisHub", (Hub,), getattr(request, "param", {}))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetch_from(hub, model="vits"):
    env = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-m", "compile", "fetch", "--model", model],
        capture_output=True,
        text=True,
        env=env,
    )


def test_fetching_checks_the_file_and_writes_down_what_it_is(hub):
    done = fetch_from(hub)
    assert done.returncode == 0, done.stderr
    file = Path("checkpoints") / VITS.file
    assert done.stdout.strip() == str(file) and file.read_bytes() == Hub.body
    assert "licence of the vits weights: Apache-2.0" in done.stderr
    assert json.loads(Path(f"{file}.json").read_text()) == {
        "repo": VITS.repo,
        "revision": "c" * 40,
        "bytes": len(Hub.body),
        "sha256": Hub.etag,
        "licence": "Apache-2.0",
    }
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name, f"{file.name}.json"]
    assert "is here already" in fetch_from(hub).stderr


@pytest.mark.parametrize("hub", [{"etag": "0" * 64}], indirect=True)
def test_a_file_that_arrives_damaged_is_removed(hub):
    done = fetch_from(hub)
    assert done.returncode == 1 and "fetch it again" in done.stderr
    assert list(Path("checkpoints").iterdir()) == []


def test_a_download_that_stops_halfway_is_never_taken_for_the_file(hub, monkeypatch):
    class Stop(BaseException):
        """What a kill does: nobody tidies up."""

    def stop(*_, **__):
        raise Stop

    monkeypatch.setattr("runtime.hub.sha256_of", stop)  # the bytes are there, nobody looked yet
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", f"{hub}/" + URL)
    with pytest.raises(Stop):
        fetch.fetch_checkpoint(VITS)
    assert any(path.is_file() and path.read_bytes() == Hub.body for path in Path().rglob("*"))
    assert fetch.local_checkpoint(VITS) is None
    assert fetch_from(hub).returncode == 0 and fetch.local_checkpoint(VITS) is not None


@pytest.mark.parametrize("name, newer", RETRAINED.items())
def test_fetching_what_upstream_trained_again_names_the_newer_one(monkeypatch, caplog, name, newer):
    asked = []
    monkeypatch.setattr(fetch, "fetch_weights", lambda *given: asked.append(given[:2]))
    fetch.fetch_checkpoint(MODELS[newer])
    assert "recommends" not in caplog.text
    fetch.fetch_checkpoint(MODELS[name])
    assert f"recommends {newer} instead" in caplog.text
    new, old = asked
    assert old == (f"depth-anything/{name.upper()}", f"{name}/model.safetensors")
    assert new == (f"depth-anything/{name.upper()}-1.1", f"{name}-1.1/model.safetensors")
