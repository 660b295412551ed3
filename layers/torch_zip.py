"""What is in a file of torch's zip format, read without running any of it.

A file in; tensors, numbers and text out, in the dictionaries and lists that hold them. What
training scripts keep beside weights and nobody needs here (options, numbers of numpy, paths)
becomes empty objects; every other class is refused by its name.
"""

import argparse
import collections
import contextlib
import importlib
import pickle
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import torch

from layers.precision import TORCH_1
from runtime.errors import CheckpointError

TUPLES_SINCE = (2, 6)  # torch's guard takes another object for a name


class Spared:
    """Takes whatever it is given, and keeps nothing."""

    def __new__(cls, *_: Any) -> "Spared":
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def spared_dictionary(*_: Any) -> "collections.OrderedDict[Any, Any]":
    """A dictionary of another kind, as an ordinary one: what is filled into it goes there."""
    return collections.OrderedDict()


NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")  # before numpy 2, and since
BUILTINS = ("builtins", "__builtin__")  # in Python 3, and as pickles for Python 2 have it
# What is in a file instead of what its name means there; nothing of that is imported or called
SPARED: dict[str, Any] = {
    "argparse.Namespace": Spared,
    "numpy.dtype": Spared,
    "numpy.ndarray": Spared,
    **{f"{module}.{name}": Spared for module in NUMPY for name in ("scalar", "_reconstruct")},
    **{f"pathlib.{name}": Spared for name in ("PosixPath", "WindowsPath")},
    **{f"pathlib.Pure{name}": Spared for name in ("PosixPath", "WindowsPath")},
    "_codecs.encode": Spared,
    "torch.device": Spared,
    "collections.Counter": spared_dictionary,
    "collections.defaultdict": spared_dictionary,
    **{f"{module}.{name}": Spared for module in BUILTINS for name in ("dict", "set")},
}


def load_zip(file: Path) -> Any:
    """Read a file.

    Raises:
        CheckpointError: a zip of another kind; the text says which.
        Exception: damaged, or another class in it, of which torch has many kinds.
    """
    _check_zip(file)
    if TORCH_1:
        return _load_by_torch_1(file)
    allow: Any = getattr(torch.serialization, "safe_globals", None)  # since torch 2.5
    guard = allow([argparse.Namespace]) if allow else contextlib.nullcontext()
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) >= TUPLES_SINCE:
        guard = allow([(instead, place) for place, instead in SPARED.items()])
    with guard, file.open("rb") as opened:  # by its name, torch would take it for safetensors
        return torch.load(opened, map_location="cpu", weights_only=True)


def _check_zip(file: Path) -> None:
    """Refuse what ``weights_only`` does not guard on older torch (CVE-2025-32434).

    torch 1.13 hands a TorchScript archive to ``torch.jit.load`` whatever the flag says.
    """
    if not zipfile.is_zipfile(file):
        raise CheckpointError(f"{file}: its end is missing (a download cut short?); fetch it again")
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
    last = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in last or any("/code/" in name for name in names):
        raise CheckpointError(
            f"{file}: a TorchScript archive, a program with its weights, not a state dict; save "
            "model.state_dict() of what it was made from"
        )
    if "data.pkl" not in last:
        within = next(
            (name for name in names if name.endswith((".pth", ".pt", ".safetensors"))), ""
        )
        advice = f" with {within!r} in it: unpack it first" if within else ", not a state dict"
        kind = "arrays of numpy (npz)" if any(name.endswith(".npy") for name in names) else "a zip"
        raise CheckpointError(f"{file}: {kind}{advice}")


def _load_by_torch_1(file: Path) -> Any:
    """The same for torch 1.13, whose guarded reader refuses a whole file for one float.

    Not by ``torch.load``: that one ignores the ``pickle_module`` it is given and takes Python's,
    which runs anything.
    """
    reader = ModuleType("reader")
    reader.Unpickler = Guarded  # type: ignore[attr-defined]
    serialization: Any = torch.serialization
    with serialization._open_zipfile_reader(str(file)) as archive:
        return serialization._load(archive, "cpu", reader, encoding="utf-8")


_Pure: Any = pickle._Unpickler  # type: ignore[attr-defined]


class Guarded(_Pure):  # type: ignore[misc]
    """Python's own reader of pickles, narrowed as torch's guard is.

    Names are looked up in a list, and only what is in it is called. Nothing is given a state, so no
    attribute of a class or a function can be set.
    """

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = dict(_Pure.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        """Look up a name.

        Raises:
            UnpicklingError: it is none of torch's own list, and not spared.
        """
        place, known = f"{module}.{name}", _known()
        if place in known:
            return known[place]
        if place in SPARED:
            return SPARED[place]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        raise pickle.UnpicklingError(f"Unsupported class {place}")

    def _reduce(self) -> None:
        function = self.stack[-2]
        allowed = (*_known().values(), *SPARED.values())
        if not any(function is one for one in allowed):
            raise pickle.UnpicklingError(f"calls {function!r}")
        super().load_reduce()

    def _newobj(self) -> None:
        if self.stack[-2] is not Spared:
            raise pickle.UnpicklingError(f"makes {self.stack[-2]!r}")
        super().load_newobj()

    def _build(self) -> None:
        self.stack.pop()  # of a dictionary of weights: versions of their layers, and no more
        if type(self.stack[-1]) not in (collections.OrderedDict, Spared):
            raise pickle.UnpicklingError(f"gives {type(self.stack[-1])} a state")

    dispatch[pickle.REDUCE[0]] = _reduce
    dispatch[pickle.NEWOBJ[0]] = _newobj
    dispatch[pickle.BUILD[0]] = _build
    for code in (pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4):
        del dispatch[code[0]]


def _known() -> "dict[str, Any]":
    guard: Any = importlib.import_module("torch._weights_only_unpickler")
    return guard._get_allowed_globals()
