"""Upstream's YAML files and those of users become networks; nothing in a file is ever run."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from depth_anything_3 import cfg
from depth_anything_3.cfg import create_object, import_item, load_config, to_dict_recursive
from depth_anything_3.config import NESTED, NETWORKS
from depth_anything_3.configured import spec_of
from depth_anything_3.model import DepthAnything3Net
from depth_anything_3.registry import MODEL_REGISTRY
from runtime.errors import InputError

ROOT = Path(__file__).parent.parent
SEVEN = [
    *("da3-base", "da3-giant", "da3-large", "da3-small"),
    *("da3metric-large", "da3mono-large", "da3nested-giant-large"),
]
# of upstream's README
README = """
__object__:
  path: depth_anything_3.model.da3
  name: DepthAnything3Net
  args: as_params

net:
  __object__:
    path: depth_anything_3.model.dinov2.dinov2
    name: DinoV2
    args: as_params

  name: vitb
  out_layers: [5, 7, 9, 11]
  alt_start: 4
  qknorm_start: 4
  rope_start: 4
  cat_token: True

head:
  __object__:
    path: depth_anything_3.model.dualdpt
    name: DualDPT
    args: as_params

  dim_in: &head_dim_in 1536
  output_dim: 2
  features: &head_features 128
  out_channels: &head_out_channels [96, 192, 384, 768]
"""
TINY = """
__inherit__: depth_anything_3.configs.da3-small
net: {out_layers: [3, 4, 5, 7]}
head: {features: 8, out_channels: [4, 4, 8, 8]}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file beside the others; the working folder is another one."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def written(text, name="mine.yaml"):
        file = tmp_path / "configs" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        return file

    return written


def shapes(network):
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def test_the_registry_has_upstreams_seven_files_sorted():
    assert list(MODEL_REGISTRY) == SEVEN
    for name, path in MODEL_REGISTRY.items():
        assert Path(path).is_absolute() and Path(path).is_file() and Path(path).stem == name


@pytest.mark.parametrize("name", SEVEN)
def test_a_file_has_the_numbers_that_the_model_is_made_of(name):
    config = load_config(MODEL_REGISTRY[name])
    parts = NESTED.get(name, (name,))
    configs = [config.anyview, config.metric] if name in NESTED else [config]
    assert [spec_of(one) for one in configs] == [NETWORKS[part] for part in parts]


def test_a_network_of_upstreams_file_has_the_keys_of_ours():
    network = create_object(load_config(MODEL_REGISTRY["da3-small"]))
    assert isinstance(network, DepthAnything3Net) and not network.training
    assert shapes(network) == shapes(DepthAnything3Net(NETWORKS["da3-small"]))


def test_a_nested_network_is_made_of_two(monkeypatch, write):
    made = []
    monkeypatch.setattr(
        "depth_anything_3.nested.DepthAnything3Net", lambda spec, *_: made.append(spec)
    )
    create_object(load_config("depth_anything_3.configs.da3nested-giant-large"))
    assert made == [NETWORKS["da3-giant"], NETWORKS["da3metric-large"]]


@pytest.mark.parametrize(
    "path",
    [
        "depth_anything_3.configs.da3-small",
        "src/depth_anything_3/configs/da3-small.yaml",
        "da3-small",
        Path(MODEL_REGISTRY["da3-small"]),
    ],
)
def test_our_files_are_found_by_all_their_names(path):
    assert load_config(path) == load_config(MODEL_REGISTRY["da3-small"])


def test_the_snippet_of_upstreams_readme_runs(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    Path("path/to/new").mkdir(parents=True)
    Path("path/to/new/config").write_text(README)
    with torch.no_grad():
        model = create_object(load_config("path/to/new/config"))
    assert model.spec == NETWORKS["da3-base"]
    assert "no cam_enc and no cam_dec; this network has both" in caplog.text


def test_a_file_that_inherits_makes_a_network_that_runs(write):
    config = load_config(write(TINY))
    assert config.net.name == "vits" and config["head"]["features"] == 8
    network = create_object(config)
    with torch.no_grad():
        found = network(torch.zeros(1, 2, 3, 28, 42))
    assert found["depth"].shape == (1, 2, 28, 42) and found["extrinsics"].shape == (1, 2, 3, 4)


def test_parents_are_merged_in_their_order_and_own_keys_over_them(write):
    write("{a: 1, b: {x: 1, y: 1}, c: [1, 2]}", "one.yaml")
    write("{a: 2, b: {y: 2, z: 2}}", "deeper/two.yaml")
    own = (
        "{__inherit__: [one.yaml, deeper/two.yaml], b: {z: 3}, c: [3], d: {__inherit__: one.yaml}}"
    )
    assert load_config(write(own)) == {
        "a": 2,
        "b": {"x": 1, "y": 2, "z": 3},
        "c": [3],
        "d": {"a": 1, "b": {"x": 1, "y": 1}, "c": [1, 2]},
    }


def test_a_parent_may_be_named_from_the_working_folder_as_upstream(write, tmp_path, monkeypatch):
    write("a: 1", "base.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_config(write("__inherit__: configs/base.yaml")) == {"a": 1}


def test_arguments_are_merged_over_a_file(write):
    config = load_config(write("{a: {b: 1, c: 1}}"), ["a.b=2", "a.d=[1, x]", "e=1e-5", "f="])
    assert config == {"a": {"b": 2, "c": 1, "d": [1, "x"]}, "e": 1e-5, "f": None}


def test_a_configuration_has_attributes_can_be_copied_and_becomes_plain(write):
    config = load_config(write("{a: {b: [{c: 1}]}, g: 1e-5, t: '1e-5x'}"))
    config.a.more = 2
    again = copy.deepcopy(config)
    assert again.a.b[0].c == 1 and again.a.more == 2 and again.g == 1e-5 and again.t == "1e-5x"
    assert not hasattr(config, "nothing")
    plain = to_dict_recursive(config)
    assert type(plain) is dict and type(plain["a"]["b"][0]) is dict


@pytest.mark.parametrize("part", ["net", "head", "cam_enc", "cam_dec"])
def test_parts_are_modules_of_their_own(part):
    config = load_config("depth_anything_3.configs.da3-small")
    whole = create_object(config)
    name = "backbone" if part == "net" else part
    assert shapes(create_object(config[part])) == shapes(getattr(whole, name))
    said = config[part].__object__
    assert isinstance(getattr(whole, name), import_item(said.path, said.name))


# --- what a file may not do


OBJECT = "__object__: {{path: {}, name: {}, args: as_params}}"


@pytest.mark.parametrize(
    "path, name",
    [
        ("os", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("torch.hub", "load"),
        ("depth_anything_3.api", "DepthAnything3"),
        ("depth_anything_3.model.da3", "os"),
        ("depth_anything_3.model", "da3.DepthAnything3Net.forward"),
        ("[os]", "system"),
        ("null", "null"),
        ("{a: 1}", "[1]"),
    ],
)
def test_an_object_of_another_name_is_refused(path, name, write, monkeypatch):
    ran = []
    monkeypatch.setattr(os, "system", ran.append)
    config = load_config(write(OBJECT.format(path, name) + "\ncommand: touch ran\n"))
    with pytest.raises(InputError, match="only classes of this package are made"):
        create_object(config)
    with pytest.raises(InputError, match="only classes of this package are made"):
        import_item(path, name)
    small = load_config("depth_anything_3.configs.da3-small")
    small.head = config
    with pytest.raises(InputError, match="only classes of this package are made"):
        create_object(small)
    assert not ran


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch ran']",
        "a: !!python/object/new:os.system ['touch ran']",
        "a: !!python/name:os.system",
        "a: !!python/module:os",
        "a: !!python/tuple [1]",
        "a: {? !!python/object/apply:os.system ['touch ran'] : 1}",
        "a: !!binary aGVsbG8=",
        "a: !mine 1",
        "a: 2020-01-01",
        "a: !!set {b, c}",
    ],
)
def test_a_tag_is_refused_before_anything_is_built(text, write, tmp_path):
    with pytest.raises(InputError, match=r"line \d: (the tag|a key that is no text)"):
        load_config(write(text))
    with pytest.raises(InputError, match=r"line \d: (the tag|a key that is no text)"):
        load_config("da3-small", ["head=" + text.partition("a: ")[2]])
    assert not list(tmp_path.rglob("ran"))


def laughs(kind):
    lines = ["a0: &a0 " + ("{k: 1, l: 2}" if kind == "merge" else "[1, 2]")]
    for at in range(1, 40):
        both = f"*a{at - 1}, *a{at - 1}"
        each = f"{{<<: [{both}], m{at}: 1}}" if kind == "merge" else f"[{both}]"
        lines.append(f"a{at}: &a{at} {each}")
    return "\n".join(lines)


def chain():
    links = ["a0: &a0 [1]", *(f"a{at}: &a{at} [*a{at - 1}]" for at in range(1, 60))]
    return "\n".join(links)


@pytest.mark.parametrize(
    "text, message",
    [
        (laughs("list"), "more than 2000 values, aliases written out"),
        (laughs("merge"), "more than 2000 values, aliases written out"),
        (chain(), "nested more than 32 deep"),
        ("a: &a [*a]", "line 1: an alias to what it is in"),
        ("a: &a {b: *a}", "line 1: an alias to what it is in"),
        ("[" * 9_000, "line 1: nested more than 32 deep"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than 32 deep"),
        ("a: [" + "1, " * 2_100 + "]", "more than 2000 values"),
        ("# " + "x" * (1 << 14), "limit 16,384"),
        ('a: ${eval:\'__import__("os").system("touch ran")\'}', "nothing is looked up"),
        ("a: [b, {c: '${oc.env:HOME}'}]", "nothing is looked up"),
        ("a: [1, 2", "line 1: expected"),
        ("- 1", "holds no mapping"),
        ("", "holds no mapping"),
        ("1: 2", "a key that is no text"),
        ("a: 0x" + "f" * 9999, "a whole number of more than 63 bits"),
        ("a: *nothing", "line 1: found undefined alias 'nothing'"),
        ("--- {a: 1}\n--- {b: 1}", "line 2: but found another document"),
        ("a: \x00", "line 1: special characters"),
        ("__inherit__: [[a]]", "give a file, or a list of files"),
        ("__inherit__: {a: b}", "give a file, or a list of files"),
        ("__inherit__: nothing.yaml", "'nothing.yaml' is not there"),
        ("__inherit__: mine.yaml", "inherits from itself: mine.yaml -> mine.yaml"),
        ("a: {b: [{__inherit__: mine.yaml}]}", "inherits from itself"),
        ("__inherit__: os.path", "'os.path' is not there"),
        ("__inherit__: depth_anything_3.api", "is not there"),
        ("__inherit__: depth_anything_3.configs.....cfg", "is not there"),
    ],
    ids=lambda text: text[:24],
)
def test_a_file_that_is_none_is_refused(text, message, write):
    with pytest.raises(InputError, match=message):
        load_config(write(text))


@pytest.mark.parametrize("way", ["../secret.yaml", "{}/secret.yaml", "link.yaml", "folder/s.yaml"])
def test_nothing_outside_is_inherited(way, write, tmp_path):
    (tmp_path / "secret.yaml").write_text("password: 1")
    (tmp_path / "configs" / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "s.yaml").write_text("password: 1")
    (tmp_path / "configs" / "folder").symlink_to(tmp_path / "far")
    with pytest.raises(InputError, match="is outside of") as raised:
        load_config(write(f"__inherit__: {way.format(tmp_path)}"))
    assert "password" not in str(raised.value)


def test_files_that_inherit_in_circles_and_ever_more_are_refused(write):
    write("__inherit__: two.yaml", "one.yaml")
    write("a: {__inherit__: one.yaml}", "two.yaml")
    with pytest.raises(InputError, match=r"from itself: one.yaml -> two.yaml -> one.yaml"):
        load_config(write("__inherit__: two.yaml", "one.yaml"))
    for at in range(40):
        write(f"__inherit__: d{at + 1}.yaml", f"d{at}.yaml")
    with pytest.raises(InputError, match="more than 16 files"):
        load_config(write("__inherit__: d0.yaml"))
    for at in range(10):
        both = f"{{__inherit__: e{at + 1}.yaml}}"
        write(f"x: {both}\ny: {both}\nz: {both}", f"e{at}.yaml")
    write("a: 1", "e10.yaml")
    with pytest.raises(InputError, match="more than 2000 values with all that it inherits"):
        load_config(write("__inherit__: e0.yaml"))


def test_what_is_no_file_is_never_read(write, tmp_path):
    os.mkfifo(tmp_path / "configs" / "pipe.yaml")
    for name in ("pipe.yaml", "/dev/zero", "a\x00.yaml", "x" * 300 + ".yaml", "."):
        with pytest.raises(InputError, match="no such file; ours are da3-base, "):
            load_config(tmp_path / "configs" / name)
    with pytest.raises(InputError, match="no such file; ours are da3-base, "):
        load_config("nothing/there")
    binary = write("")
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no text in UTF-8"):
        load_config(binary)


@pytest.mark.parametrize(
    "argument", ["head", "=1", "__inherit__=/etc/passwd", "a.__inherit__=x", "a=${b}", "a=!!x 1"]
)
def test_a_wrong_argument_is_refused(argument):
    with pytest.raises(InputError):
        load_config("da3-small", [argument])


@pytest.mark.parametrize(
    "argument, message",
    [
        ("net.name=vitt", r"net.name='vitt': use one of vits, "),
        ("net.alt_start=5", r"are \[5, 4, 4\], expected one number for all, 1 to 11, or -1"),
        ("net.alt_start=true", "expected one number for all"),
        ("net.cat_token=false", "net.cat_token=False: expected True here"),
        ("net.out_layers=[5, 7, 9, 12]", "expected 4 blocks, ascending, 3 to 11"),
        ("net.out_layers=[5, 9, 7, 11]", "expected 4 blocks, ascending"),
        ("net.out_layers=abcd", "expected 4 blocks, ascending"),
        ("net.scale_token=true", "DinoV2: no key scale_token; it has name, out_layers"),
        ("scale_head={}", "DepthAnything3Net: no key scale_head"),
        ("head.features=1000000000", "expected a multiple of 8 up to 8192"),
        ("head.features=abc", "expected a multiple of 8"),
        ("head.out_channels=[1, 2, 3, 99999999999]", "expected 4 numbers, 1 to 8192"),
        ("head.dim_in=384", "DualDPT.dim_in=384: expected 768"),
        ("head.output_dim=3", "DualDPT.output_dim=3: expected 2"),
        ("head=1", "head: expected a mapping"),
        ("head.__object__.name=DPT", r"depth_anything_3.model.dualdpt.DPT: only classes of"),
        ("head.__object__.args=as_config", "give path, name and args: as_params"),
        ("head.__object__.more=1", "give path, name and args: as_params"),
        ("cam_enc.dim_out=385", "CameraEnc.dim_out=385: expected 384"),
        ("cam_dec=3", "cam_dec: expected a mapping"),
        ("gs_head={}", "expected a mapping with __object__"),
    ],
)
def test_numbers_that_no_network_here_has_are_refused(argument, message):
    config = load_config("da3-small", [argument])
    with pytest.raises(InputError, match=message):
        create_object(config)


@pytest.mark.parametrize(
    "argument, message",
    [
        ("gs_adapter.sh_degree=3", "gs_adapter.sh_degree=3: splats here have 2"),
        ("gs_head.features=128", "features and out_channels must be those of head"),
        ("gs_adapter=null", "gs_adapter: expected a mapping"),
    ],
)
def test_splats_are_made_as_ours_or_refused(argument, message):
    with pytest.raises(InputError, match=message):
        spec_of(load_config("da3-giant", [argument]))


def test_create_object_takes_mappings_only():
    for config in (None, [], "os.system", {"path": "os"}, {"__object__": "os"}):
        with pytest.raises(InputError, match="expected a mapping with __object__"):
            create_object(config)


def test_a_missing_pyyaml_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(cfg.InputError.__mro__[1], match=r"yaml is not installed.*da3"):
        load_config("da3-small")


def test_reading_a_configuration_imports_no_torch():
    code = (
        "import sys; from depth_anything_3.cfg import load_config; "
        "from depth_anything_3.registry import MODEL_REGISTRY; "
        "load_config(MODEL_REGISTRY['da3-small']); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
