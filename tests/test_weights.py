"""Files of weights: every wrapping that people save is read, nothing in them runs, all else is
refused with a reason."""

import argparse
import collections
import fractions
import io
import json
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from compile.seeded import fill_seeded
from depth_anything_3.api import DepthAnything3
from depth_anything_v2.dpt import DepthAnythingV2
from layers.checkpoint import Look, load_checkpoint, read_state_dict
from layers.precision import TORCH_1
from layers.torch_zip import Guarded
from layers.transformers_names import official_names
from runtime.errors import CheckpointError

KEYS = Path(__file__).parent / "golden" / "keys"
STATE = {"pretrained.cls_token": torch.ones(1, 1, 4), "depth_head.bias": torch.arange(3.0)}


def named(prefix):
    return {prefix + name: value for name, value in STATE.items()}


def beside():
    """What training keeps beside the weights."""
    options = argparse.Namespace(lr=5e-6, encoder="vits", sizes=[518, 518], resume=None)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))], lr=5e-6)
    best = {"d1": 0.125, "rmse": float("inf")}
    return {"optimizer": optimizer.state_dict(), "epoch": 3, "best": best, "args": options}


WRAPPED = {
    "alone": STATE,
    "as upstream's metric training saves it": {"model": named("module."), **beside()},
    "state_dict": {"state_dict": STATE, "epoch": 3, "lr": 1e-4},
    "model_state_dict": {"model_state_dict": STATE, **beside()},
    "DistributedDataParallel": named("module."),
    "Lightning": {"state_dict": named("model."), "hyper_parameters": {"lr": 0.5}},
    "torch.compile": named("_orig_mod."),
    "compiled, then DDP": {"model": named("module._orig_mod.")},
    "wrapped twice": {"model": {"state_dict": named("model.module.")}},
    "an average of torch's": {**named("module."), "n_averaged": torch.tensor(7)},
    "an average beside its model": {"ema": {"x": torch.zeros(1)}, "model": STATE},
    "an average alone": {"ema": named("module."), "epoch": 3},
    "another's words for it": {"params": {"net": STATE}},
    "parameters": {name: torch.nn.Parameter(value) for name, value in STATE.items()},
}


@pytest.mark.parametrize("content", WRAPPED.values(), ids=WRAPPED)
def test_weights_are_unwrapped(tmp_path, content):
    torch.save(content, str(tmp_path / "a.pth"))
    found = read_state_dict(tmp_path / "a.pth")
    assert found.keys() == STATE.keys()
    assert all(torch.equal(value, STATE[name]) for name, value in found.items())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin", ""])
def test_the_format_is_told_by_the_content(tmp_path, suffix):
    for save in (torch.save, save_file):
        save(STATE, str(tmp_path / f"a{suffix}"))
        assert read_state_dict(tmp_path / f"a{suffix}").keys() == STATE.keys()


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


@pytest.mark.parametrize(
    "content, said",
    [
        ({"weight": Bomb()}, "posix.system"),
        ({"model": STATE, "lr": 0.5, "args": argparse.Namespace(bomb=Bomb())}, "posix.system"),
        ({"model": STATE, "args": torch.nn.Linear(2, 2)}, "torch.nn.modules.linear.Linear"),
        ({"model": STATE, "args": fractions.Fraction(1, 2)}, "fractions.Fraction"),
    ],
    ids=["alone", "in the options", "a module", "another class"],
)
def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path, monkeypatch, content, said):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "bomb.pth")
    with pytest.raises(CheckpointError, match=f"holds more than tensors, .*: {said}"):
        read_state_dict(Path("bomb.pth"))
    assert not Path("exploded").exists()


def around_weights():
    """What optimizers, schedulers and options of other people's training have in them."""
    options = argparse.Namespace(lr=np.float64(1e-4), out=Path("runs"), seen=np.arange(3))
    schedule = {"milestones": collections.Counter([1, 2]), "base_lrs": [np.float32(0.1)]}
    state = collections.defaultdict(dict, {0: {"step": np.int64(3), "done": np.bool_(True)}})
    return {
        "args": options,
        "lr_scheduler": schedule,
        "optimizer": {"state": state},
        "key": b"\xff",
    }


def test_what_training_keeps_beside_weights_is_left_out(tmp_path):
    content = {"model": STATE, **around_weights(), "device": torch.device("cpu")}
    for number in range(2):  # numbers of numpy share their functions: the second is a reference
        content[f"best_{number}"] = {"d1": np.float64(0.5 + number)}
    torch.save(content, str(tmp_path / "a.pth"))
    assert read_state_dict(tmp_path / "a.pth").keys() == STATE.keys()


@pytest.mark.skipif(not TORCH_1, reason="only torch 1 needs a guard of our own")
@pytest.mark.parametrize(
    "pickled, said",
    [
        (b"cposix\nsystem\n(X\x04\0\0\0truetR.", "Unsupported class posix.system"),
        (b"\x8c\x05posix\x8c\x06system\x93.", "Unsupported class posix.system"),
        (b"(X\x04\0\0\0trueiposix\nsystem\n.", "105|unsupported|KeyError"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n}X\1\0\0\0aNsb.", "a state"),
        (b"ctorch\nTensor\n}X\1\0\0\0aNsb.", "a state"),
        (b"ctorch\nTensor\n)\x81.", "makes"),
        (b"X\x04\0\0\0true)R.", "calls 'true'"),
        (b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "Unsupported class"),
    ],
)
def test_the_guard_calls_and_changes_nothing(pickled, said):
    with pytest.raises((pickle.UnpicklingError, KeyError), match=said):
        Guarded(io.BytesIO(b"\x80\x04" + pickled)).load()


@pytest.mark.parametrize("start", [b"", b"\x80\x02}q\x00."], ids=["as it is", "behind a pickle"])
def test_a_torchscript_archive_is_refused_before_torch_sees_it(tmp_path, monkeypatch, start):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "script.pth"))
    archive = (tmp_path / "script.pth").read_bytes()
    (tmp_path / "script.pth").write_bytes(start + archive)
    for door in ((torch, "load"), (torch.jit, "load"), (torch.serialization, "_load")):
        monkeypatch.setattr(*door, lambda *_, **__: pytest.fail("torch was asked"))
    with pytest.raises(CheckpointError, match="TorchScript archive" if not start else "zip format"):
        read_state_dict(tmp_path / "script.pth")


def file_of(kind, path):
    """Write a file that is no checkpoint."""
    if kind == "old":
        torch.save(STATE, str(path), _use_new_zipfile_serialization=False)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme", "hello")
    elif kind == "zip of pth":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/b.pth", "hello")
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, a=np.zeros(3))
    elif kind == "tar":
        with tarfile.open(path, "w") as archive:
            archive.addfile(tarfile.TarInfo("a"))
    elif kind == "cut safetensors":
        save_file(STATE, str(path))
        path.write_bytes(path.read_bytes()[:-4])
    elif kind == "cut zip":
        torch.save(STATE, str(path))
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "damaged zip":
        torch.save(STATE, str(path))
        path.write_bytes(path.read_bytes().replace(b"cls_token", b"cls\xff\xfe\xfdken"))
    elif isinstance(kind, bytes):
        path.write_bytes(kind)
    else:
        torch.save(kind, str(path))


def loop():
    content = {"epoch": 1}
    content["model"] = content
    return content


REFUSED = [
    (b"", "empty"),
    (b"hello", "a text instead of weights, 'hello'"),
    (b"\x01\x02\xff\x00", "safetensors or torch's zip format"),
    (b"\0" * 600, "nothing but zeros"),
    (b"\xef\xbb\xbf<!-- moved --><html>", "page in HTML"),
    ("<html>".encode("utf-16"), "page in HTML"),
    (b"<Error><Code>AccessDenied</Code></Error>", "page in HTML"),
    (b'<?xml version="1.0"?>\n<net name="graph" version="11">', "a graph of OpenVINO"),
    (b'{"model_name": "da3-small"}', "a text in JSON"),
    (b'{"metadata": {"total_size": 9}, "weight_map": {}}', "the index of weights in several files"),
    ("Nicht gefunden: é".encode(), "a text instead of weights, 'Nicht gefunden: é'"),
    (b"\x08\x08\x12\x07pytorch\x1a\x0a", "an ONNX graph"),
    (b"\x1f\x8b\x08\0", "packed by gzip"),
    (b"\x93NUMPY\x01\0", "an array of numpy"),
    (b"\x89HDF\r\n\x1a\n\0", "an HDF5 file"),
    ("tar", "a tar archive"),
    ("npz", "arrays of numpy"),
    ("zip of pth", "a zip with 'a/b.pth' in it: unpack it first"),
    ("cut safetensors", "damaged"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "pointer of git-lfs"),
    (b"\n <!DOCTYPE html><html>Access denied</html>", "page in HTML"),
    (b"\x08\0\0\0\0\0\0\0{}", "damaged"),
    (b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", "safetensors or torch's zip format"),
    ("old", "save it again"),
    ("zip", "not a state dict"),
    ("cut zip", "its end is missing"),
    ("damaged zip", "damaged"),
    ([1, 2], "not a state dict"),
    (torch.zeros(2), "not a state dict"),
    ({"model": "vits", "epoch": 3}, r"none under state_dict, .*: it holds model \(str\), epoch"),
    ({"a": torch.zeros(1), "b": 0.5}, r"it holds b \(NoneType|it holds b \(float"),
    (loop(), "not a state dict"),
]


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind, said", REFUSED, ids=[said[:14] for _, said in REFUSED])
def test_what_is_no_checkpoint_is_called_what_it_is(tmp_path, kind, said, suffix):
    file_of(kind, tmp_path / f"a{suffix}")
    with pytest.raises(CheckpointError, match=said) as refusal:
        read_state_dict(tmp_path / f"a{suffix}")
    assert "\n" not in str(refusal.value)


def test_safetensors_with_metadata_are_read(tmp_path):
    save_file(STATE, str(tmp_path / "a.safetensors"), {"format": "pt", "made by": "somebody"})
    assert read_state_dict(tmp_path / "a.safetensors").keys() == STATE.keys()


def test_a_path_without_a_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_state_dict(tmp_path / ("a" * 300))
    with pytest.raises(CheckpointError, match="no such file"):
        read_state_dict(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="a folder, give the file in it"):
        read_state_dict(tmp_path)


@pytest.fixture(scope="module")
def seeded():
    model = DepthAnythingV2("vitt").eval()
    fill_seeded(model)
    return model


def load(state, tmp_path, model="vitt", known=None):
    """A file with this content, filled into a model of V2."""
    file = tmp_path / "a.pth"
    torch.save(state, str(file))
    made = DepthAnythingV2(model)
    load_checkpoint(made, file, model, known or {})
    return made


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_become_float32(seeded, tmp_path, dtype):
    state = seeded.state_dict()
    made = load({name: value.to(dtype) for name, value in state.items()}, tmp_path)
    for name, value in made.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[name].to(dtype).float())


def test_a_state_dict_that_does_not_fit_is_explained(seeded, tmp_path):
    broken = dict(seeded.state_dict())
    del broken["pretrained.norm.weight"]
    broken["extra.weight"] = torch.zeros(1)
    broken["pretrained.norm.bias"] = torch.zeros(3)
    broken["pretrained.cls_token"] = torch.zeros(1, 1, 192, dtype=torch.int8)
    broken["pretrained.mask_token"] = torch.zeros(1, 192).to_sparse()
    with pytest.raises(CheckpointError, match="does not fit vitt") as refusal:
        load(broken, tmp_path)
    text = str(refusal.value)
    assert "1 missing: pretrained.norm.weight" in text
    assert "1 not expected: extra.weight" in text
    assert "1 of another shape: pretrained.norm.bias (3,) instead of (192,)" in text
    assert "2 no dense floats: pretrained.cls_token, pretrained.mask_token" in text


def test_another_networks_names_are_shown_beside_the_models_own(tmp_path):
    encoder = {"cls_token": torch.zeros(1, 1, 384), "blocks.0.norm1.weight": torch.zeros(384)}
    with pytest.raises(CheckpointError) as refusal:
        load(encoder, tmp_path)
    text = str(refusal.value)
    assert "found cls_token, blocks.0.norm1.weight; expected pretrained.cls_token, " in text
    assert text.endswith("looks like an encoder (DINOv2) without a depth head")


@pytest.mark.parametrize(
    "width, said",
    [
        (384, "looks like Depth Anything V2 with vits, width 384"),
        (400, "looks like Depth Anything V2 with an encoder that is unknown here, width 400"),
        (192, "shape|missing"),  # the model's own width: there is nothing to add
    ],
)
def test_what_no_known_model_looks_like_is_told_by_its_width(tmp_path, width, said):
    known = {"vitt": Look("v2", 192)}
    with pytest.raises(CheckpointError, match=said) as refusal:
        load({"pretrained.cls_token": torch.zeros(1, 1, width)}, tmp_path, known=known)
    assert ("looks like" in str(refusal.value)) == (width != 192)


# transformers' names, in the order q, k, v; written by hand for this test
def in_transformers_names(state, generation=4):
    split, out = (
        {4: ("attention.attention.{}", ("query", "key", "value"), "attention.output.dense")},
        {},
    )
    split[5] = ("attention.{}_proj", ("q", "k", "v"), "attention.o_proj")
    where, parts, projection = split[generation]
    plain = {
        "pretrained.cls_token": "backbone.embeddings.cls_token",
        "pretrained.mask_token": "backbone.embeddings.mask_token",
        "pretrained.pos_embed": "backbone.embeddings.position_embeddings",
    }
    for name, value in state.items():
        root, _, end = name.rpartition(".")
        words = name.split(".")
        if name in plain:
            out[plain[name]] = value
        elif name.startswith("pretrained.blocks."):
            layer = f"backbone.encoder.layer.{words[2]}"
            rest = ".".join(words[3:])
            if rest.startswith("attn.qkv"):
                for part, values in zip(parts, value.chunk(3)):
                    out[f"{layer}.{where.format(part)}.{end}"] = values.clone()
            elif rest.startswith("attn.proj"):
                out[f"{layer}.{projection}.{end}"] = value
            elif rest.startswith("ls"):
                out[f"{layer}.layer_scale{rest[2]}.lambda1"] = value
            else:
                out[f"{layer}.{rest}"] = value
        elif name.startswith("pretrained.patch_embed"):
            out[f"backbone.embeddings.patch_embeddings.projection.{end}"] = value
        elif name.startswith("pretrained.norm"):
            out[f"backbone.layernorm.{end}"] = value
        elif name.startswith("depth_head.projects"):
            out[f"neck.reassemble_stage.layers.{words[2]}.projection.{end}"] = value
        elif name.startswith("depth_head.resize_layers"):
            out[f"neck.reassemble_stage.layers.{words[2]}.resize.{end}"] = value
        elif "_rn" in name:
            out[f"neck.convs.{int(words[2][5]) - 1}.{end}"] = value
        elif "refinenet" in name:
            block = f"neck.fusion_stage.layers.{4 - int(words[2][-1])}"
            if words[3] == "out_conv":
                out[f"{block}.projection.{end}"] = value
            else:
                unit, conv = words[3][-1], words[4][-1]
                out[f"{block}.residual_layer{unit}.convolution{conv}.{end}"] = value
        else:
            number = {"output_conv1": 1, "output_conv2.0": 2, "output_conv2.2": 3}
            out[f"head.conv{number[root[len('depth_head.scratch.') :]]}.{end}"] = value
    return out


def test_transformers_names_become_the_official_ones():
    """The list is what transformers 4.44 and 5.24 save of a V2 Small."""
    listed = json.loads((KEYS / "v2_vits_transformers.json").read_text())
    found = official_names({name: torch.empty(shape) for name, shape in listed.items()})
    official = json.loads((KEYS / "v2_vits.json").read_text())
    assert {name: list(value.shape) for name, value in found.items()} == official
    by_hand = in_transformers_names({name: torch.empty(s) for name, s in official.items()})
    assert {name: list(value.shape) for name, value in by_hand.items()} == listed


@pytest.mark.parametrize("generation", [4, 5])
def test_weights_in_transformers_layout_are_converted(seeded, tmp_path, generation, caplog):
    caplog.set_level("INFO")
    state = seeded.state_dict()
    half = {k: v.half() for k, v in in_transformers_names(state, generation).items()}
    made = load({"model": half}, tmp_path)
    assert "layout of Hugging Face's transformers, converted" in caplog.text
    assert all(torch.equal(v, state[k].half().float()) for k, v in made.state_dict().items())


def test_transformers_layout_that_does_not_fit_says_so(seeded, tmp_path):
    state = in_transformers_names(seeded.state_dict())
    layer = "backbone.encoder.layer.3.attention.attention."
    del state[layer + "key.weight"]
    state[layer + "value.bias"] = torch.zeros(5)
    with pytest.raises(CheckpointError, match=r"in the layout of .* transformers, does") as refusal:
        load(state, tmp_path)
    text = str(refusal.value)
    assert "2 missing: pretrained.blocks.3.attn.qkv" in text
    assert f"5 not expected: {layer}" in text
    other = in_transformers_names(seeded.state_dict())
    with pytest.raises(CheckpointError, match="looks like demo: use that model"):
        load(other, tmp_path, "vits", {"demo": Look("v2", 192), "vits": Look("v2", 384)})


def test_names_of_depth_anything_3_may_have_their_prefix_or_not(tmp_path):
    model = DepthAnything3("da3-small")
    fill_seeded(model)
    inner = model.model.state_dict()  # without ``model.``
    for content in (inner, {"state_dict": {f"model.model.{k}": v for k, v in inner.items()}}):
        torch.save(content, str(tmp_path / "a.pth"))
        made = DepthAnything3("da3-small")
        load_checkpoint(made, tmp_path / "a.pth", "da3-small", {})
        assert all(torch.equal(value, inner[k]) for k, value in made.model.state_dict().items())
