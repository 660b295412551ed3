"""Upstream's import path for configurations: YAML files to mappings, and mappings to networks.

    from depth_anything_3.cfg import create_object, load_config
    network = create_object(load_config("my.yaml"))

A file holds plain values and may inherit from others. Nothing in it is ever run, imported or looked
up in the environment: tags, ``${...}`` and objects that are not of this package are refused.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Optional, Union

from depth_anything_3.registry import CONFIGS, MODEL_REGISTRY
from runtime.errors import InputError
from runtime.files import read_whole
from runtime.optional import require

INHERIT = "__inherit__"
FILE_BYTES = 1 << 14  # upstream's largest has 1.5 kB
NODES = 2_000  # values of a configuration with all that it inherits
DEEP = 32  # values within values
CHAIN = 16  # files that inherit one from the other
# YAML 1.1 takes 1e-5 for a text, since it has no point
_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool")}
_KEYS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"}
_TAGS |= {"tag:yaml.org,2002:null"} | _KEYS


class Config(dict):
    """A mapping whose keys are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the configuration has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def load_config(path: Union[str, Path], argv: Optional[Sequence[str]] = None) -> Config:
    """Read a configuration, with what it inherits.

    ``__inherit__`` names one file or a list of them, at any depth: parents are merged in their
    order, a mapping's own keys over them. An inherited file lies below the folder of ``path`` or
    below the working folder, or is one of ``MODEL_REGISTRY``.

    Args:
        path: a file, or one of ours as ``depth_anything_3.configs.da3-small``; a text without
            slash and ``.yaml`` is never a file.
        argv: ``key=value``, merged over it; ``head.features=32`` is one deeper.
    Raises:
        InputError: a file that is not there, too large, damaged or no plain values, one that
            inherits from itself or from outside, or an argument without ``=``.
        MissingDependency: PyYAML is not installed.
    """
    file = _file_of(path, [Path()])
    if file is None:
        raise InputError(f"{path}: no such file; ours are {', '.join(MODEL_REGISTRY)}")
    found = _Reader(file).read(file)
    for argument in argv or ():
        found = _merged(found, _assignment(argument))
    config: Config = _as_config(found)
    return config


def create_object(config: Mapping[str, Any]) -> Any:
    """The network, or the part of one, that a configuration describes; its weights are random.

    Args:
        config: of ``load_config``, or any mapping like it, with ``__object__``.
    Returns:
        a ``torch.nn.Module``.
    Raises:
        InputError: an object that is none of this package, or numbers that no network here has.
    """
    from depth_anything_3.configured import create

    return create(config)


def import_item(path: str, name: str) -> Any:
    """The class that stands for one of upstream's.

    Args:
        path, name: upstream's, as ``depth_anything_3.model.dualdpt`` and ``DualDPT``.
    Raises:
        InputError: any other: nothing is imported by a name that somebody chose.
    """
    from depth_anything_3.configured import known

    return known(path, name).kind


def to_dict_recursive(config: Any) -> Any:
    """The same as plain dictionaries and lists."""
    if isinstance(config, Mapping):
        return {key: to_dict_recursive(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_dict_recursive(value) for value in config]
    return config


def _file_of(path: Union[str, Path], folders: Sequence[Path]) -> Optional[Path]:
    """The file that is meant; None if there is none."""
    text = str(path)
    if text in MODEL_REGISTRY:
        return Path(MODEL_REGISTRY[text])
    if isinstance(path, str) and not re.search(r"[/\\]|\.ya?ml$", text):
        parts = text.split(".")
        ours = MODEL_REGISTRY.get(parts[-1]) if parts[1:-1] == ["configs"] else None
        return None if ours is None else Path(ours)
    for folder in folders:
        try:
            if (folder / path).is_file():
                return (folder / path).resolve()
        except (OSError, ValueError):  # a name that no disk takes
            return None
    # a path into upstream's clone
    in_clone = re.search(r"depth_anything_3[/\\]configs[/\\]([\w.-]+)\.yaml$", text)
    ours = MODEL_REGISTRY.get(in_clone[1]) if in_clone else None
    return None if ours is None else Path(ours)


class _Reader:
    """Reads one configuration; counts, so that a small file cannot become a large one."""

    def __init__(self, file: Path) -> None:
        self._roots = (file.parent, Path.cwd().resolve(), CONFIGS)
        self._open: list[Path] = []
        self._nodes = 0

    def read(self, file: Path) -> Any:
        """What a file holds, with all that it inherits."""
        if file in self._open or len(self._open) == CHAIN:
            chain = " -> ".join(one.name for one in (*self._open, file))
            wrong = "inherits from itself" if file in self._open else f"more than {CHAIN} files"
            raise InputError(f"{self._open[0]}: {INHERIT}: {wrong}: {chain}")
        found = _parse(file)
        if not isinstance(found, dict):
            raise InputError(f"{file}: holds no mapping, expected keys and values")
        self._open.append(file)
        whole = self._resolved(found, file)
        self._open.pop()
        return whole

    def _resolved(self, value: Any, file: Path) -> Any:
        self._nodes += 1
        if self._nodes > NODES:
            raise InputError(f"{self._open[0]}: more than {NODES} values with all that it inherits")
        if isinstance(value, list):
            return [self._resolved(one, file) for one in value]
        if not isinstance(value, dict):
            return value
        whole: Any = {}
        for parent in _listed(value.get(INHERIT, []), file):
            whole = _merged(whole, self.read(self._parent(parent, file)))
        own = {key: self._resolved(one, file) for key, one in value.items() if key != INHERIT}
        return _merged(whole, own)

    def _parent(self, name: str, file: Path) -> Path:
        found = _file_of(name, [file.parent, Path()])
        if found is None:
            raise InputError(f"{file}: {INHERIT}: {name!r} is not there")
        if not any(root == found or root in found.parents for root in self._roots):
            raise InputError(
                f"{file}: {INHERIT}: {name!r} is outside of {self._roots[0]}; put it there, or "
                "start from a folder that holds both"
            )
        return found


def _listed(parents: Any, file: Path) -> list[str]:
    names = parents if isinstance(parents, list) else [parents]
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{file}: {INHERIT}: give a file, or a list of files")
    return names


def _parse(file: Path) -> Any:
    """The plain values of a file, or why they are none."""
    try:
        return _plain(read_whole(file, FILE_BYTES).decode("utf-8-sig"), str(file))
    except UnicodeDecodeError:
        raise InputError(f"{file}: no text in UTF-8") from None


def _plain(text: str, source: str) -> Any:
    """YAML to plain values; what would build anything else is refused before it is built."""
    yaml = require("yaml", "da3")

    def refuse(line: int, what: str) -> NoReturn:
        raise InputError(f"{source}: line {line + 1}: {what}")

    deep = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            deep += isinstance(event, yaml.CollectionStartEvent)
            deep -= isinstance(event, yaml.CollectionEndEvent)
            if deep > DEEP:
                refuse(event.start_mark.line, f"nested more than {DEEP} deep")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _check(root, {}, refuse)
        return _values(yaml.safe_load(text), source)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or getattr(error, "reason", "not YAML")
        refuse(0 if mark is None else mark.line, str(said))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: a number that is none") from None


def _check(node: Any, seen: dict[int, tuple[int, int]], refuse: Any) -> tuple[int, int]:
    """How many values a node and all below it are, and how deep, aliases written out.

    Args:
        seen: the same of nodes that were counted; zeros while one is.
    """
    line = node.start_mark.line
    if id(node) in seen:
        return seen[id(node)] if seen[id(node)][0] else refuse(line, "an alias to what it is in")
    if node.tag not in _TAGS:
        refuse(line, f"the tag {node.tag}: give plain values only, nothing is built or run")
    seen[id(node)] = (0, 0)
    count, deep = 1, 1
    for child in node.value if isinstance(node.value, list) else ():
        if isinstance(child, tuple):
            key, child = child
            if key.tag not in _KEYS:
                refuse(key.start_mark.line, "a key that is no text")
        more, deeper = _check(child, seen, refuse)
        count, deep = count + more, max(deep, 1 + deeper)
    if count > NODES:
        refuse(line, f"more than {NODES} values, aliases written out")
    if deep > DEEP:
        refuse(line, f"nested more than {DEEP} deep")
    seen[id(node)] = (count, deep)
    return count, deep


def _values(value: Any, source: str) -> Any:
    """The same with numbers as YAML 1.2 has them; what would have to be looked up is refused."""
    if isinstance(value, dict):
        return {key: _values(one, source) for key, one in value.items()}
    if isinstance(value, list):
        return [_values(one, source) for one in value]
    if isinstance(value, str) and "${" in value:
        raise InputError(f"{source}: {value[:80]!r}: nothing is looked up; write the value out")
    if isinstance(value, int) and abs(value) >> 63:
        raise InputError(f"{source}: a whole number of more than 63 bits")
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def _assignment(argument: str) -> dict[str, Any]:
    key, equals, text = argument.partition("=")
    if not (equals and key) or INHERIT in key.split("."):
        raise InputError(f"{argument!r}: give key=value, as head.features=64")
    if len(argument) > FILE_BYTES or key.count(".") > DEEP:
        raise InputError(f"{key[:80]!r}: longer than a configuration's values are")
    value = _plain(text, f"{key}=")
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _merged(old: Any, new: Any) -> Any:
    """Mappings key by key, anything else replaced; neither is changed."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    own = {key: _merged(old[key], value) if key in old else value for key, value in new.items()}
    return {**old, **own}


def _as_config(value: Any) -> Any:
    if isinstance(value, dict):
        return Config({key: _as_config(one) for key, one in value.items()})
    return [_as_config(one) for one in value] if isinstance(value, list) else value
