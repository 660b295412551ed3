"""Weights: found, fetched, verified, loaded strictly, or refused with a reason."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from compile import checkpoint, fetch
from compile.__main__ import main
from compile.registry import MODELS
from compile.seeded import fill_seeded
from depth_anything_v2.dpt import DepthAnythingV2
from runtime.artifact.manifest import WeightsSpec
from runtime.errors import CheckpointError

VITS = MODELS["vits"]
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


def test_half_precision_weights_become_float32(state, tmp_path):
    save_file({key: value.half() for key, value in state.items()}, str(tmp_path / "h.safetensors"))
    model, _ = checkpoint.load_model(VITS, tmp_path / "h.safetensors")
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_a_state_dict_that_does_not_fit_is_explained(state):
    broken = dict(state)
    broken.pop("pretrained.norm.weight")
    broken["extra.weight"] = torch.zeros(1)
    broken["pretrained.norm.bias"] = torch.zeros(3)
    with pytest.raises(CheckpointError) as refusal:
        checkpoint.load_strictly(DepthAnythingV2("vits"), broken, "file.pth as vits")
    text = str(refusal.value)
    assert "1 missing: pretrained.norm.weight" in text
    assert "1 not expected: extra.weight" in text
    assert "pretrained.norm.bias (3,) instead of (384,)" in text


def test_weights_of_another_encoder_are_named(state):
    with pytest.raises(CheckpointError, match="looks like vits: use that model"):
        checkpoint.load_strictly(DepthAnythingV2("vitb"), state, "file.pth as vitb")


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path):
    torch.save({"weight": Bomb()}, str(tmp_path / "bomb.pth"))
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        checkpoint.read_state_dict(tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()


def test_a_torchscript_archive_is_refused_before_torch_sees_it(tmp_path, monkeypatch):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pth"))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load was called"))
    with pytest.raises(CheckpointError, match="TorchScript archive"):
        checkpoint.read_state_dict(tmp_path / "script.pth")


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(CheckpointError, match="zip format"):
        checkpoint.read_state_dict(tmp_path / "text.pth")
    torch.save(
        {"a": torch.zeros(1)}, str(tmp_path / "old.pth"), _use_new_zipfile_serialization=False
    )
    with pytest.raises(CheckpointError, match="save it again"):
        checkpoint.read_state_dict(tmp_path / "old.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(CheckpointError, match="not a state dict"):
        checkpoint.read_state_dict(tmp_path / "zip.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read_state_dict(tmp_path / "cut.safetensors")
    torch.save([1, 2], str(tmp_path / "list.pth"))
    with pytest.raises(CheckpointError, match="not a state dict"):
        checkpoint.read_state_dict(tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="no such file"):
        checkpoint.read_state_dict(tmp_path / "absent.pth")


def test_upstreams_training_checkpoint_is_unwrapped(state, tmp_path):
    torch.save({"model": state, "epoch": 3}, str(tmp_path / "latest.pth"))
    assert checkpoint.read_state_dict(tmp_path / "latest.pth").keys() == state.keys()


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


def test_fallback_does_not_hide_a_checkpoint_that_does_not_fit(tmp_path, capsys):
    torch.save({"a": torch.zeros(1)}, str(tmp_path / "other.pth"))
    Path("checkpoints").mkdir()
    (tmp_path / "other.pth").rename(f"checkpoints/{VITS.file}")
    assert main(["--target", "torchscript", "--seeded-fallback", "--sizes", "28x28"]) == 1
    assert "does not fit" in capsys.readouterr().err


def test_unpublished_weights_are_not_looked_for():
    with pytest.raises(CheckpointError, match="published no weights"):
        fetch.fetch_checkpoint(MODELS["vitg"])


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


def fetch_from(hub):
    env = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-m", "compile", "fetch", "--model", "vits"],
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
    assert "is here already" in fetch_from(hub).stderr


@pytest.mark.parametrize("hub", [{"etag": "0" * 64}], indirect=True)
def test_a_file_that_arrives_damaged_is_removed(hub):
    done = fetch_from(hub)
    assert done.returncode == 1 and "fetch it again" in done.stderr
    assert not (Path("checkpoints") / VITS.file).exists()
