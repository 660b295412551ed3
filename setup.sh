#!/bin/sh
# Make .venv inside this clone and install the project into it, pinned by constraints/.
#
#   ./setup.sh              a new .venv with what `make inference` needs, and nothing more
#   ./setup.sh serve ray    add these extras of pyproject.toml to the .venv that is here
#
# `make` calls it with the extras that a target needs (the table in Makefile), when it needs them first.
# What has been installed leaves .venv/has-base, .venv/has-serve and so on; a failed install leaves none.
# Touches nothing outside the clone: uv, its cache and any Python it fetches go to .uv/ and .cache/.
#
#   PYTHON=...               the interpreter; default 3.9, then any newer one
#   UV_TORCH_BACKEND=...     which build of torch (uv's own setting: cpu, cu126, ...); default: see choose_torch
#   PINS=neuron              what lives with AWS's compiler for Inferentia (docs/inferentia.md); its wheels
#                            are added by hand
set -eu
cd "$(dirname "$0")"

BASE=torch,onnx,openvino,exr,html

export UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.cache/uv}"
export UV_PYTHON_INSTALL_DIR="${UV_PYTHON_INSTALL_DIR:-$PWD/.cache/python}"
export PIP_CACHE_DIR="${PIP_CACHE_DIR:-$PWD/.cache/pip}"
# Trust what the system trusts, as pip does: company networks need it (older and newer name)
export UV_NATIVE_TLS="${UV_NATIVE_TLS:-1}" UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"
# uv does not read pip's setting for local wheels; a machine that has it set means it for us too
[ -z "${PIP_FIND_LINKS:-}" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-$PIP_FIND_LINKS}"

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

# runs "python code": does this interpreter really start and pass the test?
runs() { command -v "$1" >/dev/null 2>&1 && "$1" -c "import sys; sys.exit(not ($2))" >/dev/null 2>&1; }
is_39() { runs "$1" 'sys.version_info[:2] == (3, 9)'; }
is_new_enough() { runs "$1" 'sys.version_info >= (3, 9)'; }

any_python() {
    for candidate in python3 python python3.12 python3.11 python3.13 python3.10; do
        if is_new_enough "$candidate"; then command -v "$candidate"; return; fi
    done
}

find_uv() {
    if command -v uv >/dev/null 2>&1; then command -v uv; return; fi
    if [ ! -x .uv/bin/uv ]; then
        base=${1:-$(any_python)}
        [ -n "$base" ] || fail "no Python 3.9 or newer found; install one, or set PYTHON=/path/to/python"
        say "uv not found: installing it into .uv/"
        "$base" -m venv .uv >&2 && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv >&2
    fi
    echo "$PWD/.uv/bin/uv"
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON does not run, or is older than 3.9"
        command -v "$PYTHON"; return
    fi
    if is_39 python3.9; then command -v python3.9; return; fi
    for candidate in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.9.*/bin/python; do
        if is_39 "$candidate"; then echo "$candidate"; return; fi
    done
    if "$UV" python find --quiet 3.9 >/dev/null 2>&1; then "$UV" python find 3.9; return; fi
    if "$UV" python install --quiet --no-bin 3.9 >/dev/null 2>&1; then "$UV" python find 3.9; return; fi
    any_python
}

# install ARGUMENTS of `uv pip install`; with a progress bar only if somebody watches
install() {
    if [ -t 2 ]; then quiet=; else quiet=--quiet; fi
    "$UV" pip install $quiet --python .venv/bin/python --constraint "$pins" "$@"
}

size() { du -sh .venv | cut -f1; }
torch_version() { .venv/bin/python -c 'import importlib.metadata as m; print(m.version("torch"))'; }

has_nvidia() { [ -e /dev/nvidia0 ] || nvidia-smi -L >/dev/null 2>&1; }

# uv knows where torch's builds are kept. Those for the CPU are a fraction of the ordinary ones for Linux,
# which bring CUDA along.
choose_torch() {
    large="the package index's own build of torch (for Linux mostly with CUDA inside: some 2 GB to download)"
    if [ -n "${UV_TORCH_BACKEND:-}" ]; then
        say "taking the build of torch that UV_TORCH_BACKEND=$UV_TORCH_BACKEND asks for"
    elif [ "$pins" = constraints/neuron.txt ] || [ "$(uname -s)" != Linux ]; then
        :  # AWS's wheels expect the ordinary build; elsewhere it is the small one anyway
    elif has_nvidia; then
        say "NVIDIA GPU found: taking $large"
    elif UV_TORCH_BACKEND=cpu UV_HTTP_RETRIES=0 UV_HTTP_TIMEOUT=10 UV_HTTP_CONNECT_TIMEOUT=10 \
        "$UV" pip install --dry-run --no-deps --python .venv/bin/python --constraint "$pins" torch 2>&1 |
        grep -q '+cpu'; then
        say "no NVIDIA GPU: taking torch's build for the CPU, some 200 MB to download"
        export UV_TORCH_BACKEND=cpu
    else
        say "no NVIDIA GPU, but torch's builds for the CPU cannot be reached: taking $large"
    fi
}

make_base() {
    FOUND=$(find_python)
    [ -n "$FOUND" ] || fail "no Python 3.9 or newer found; install one, or set PYTHON=/path/to/python"
    version=$("$FOUND" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    what=.[$BASE]
    # A .venv for AWS's compiler stays one when it is made again
    if [ -z "${PINS+set}" ] && grep -qs neuron .venv/pins; then
        PINS=neuron
        say "notice: as before with PINS=neuron; AWS's wheels have to be added again (PINS= make setup: without)"
    fi
    if [ "${PINS:-}" = neuron ]; then
        [ "$version" = 3.9 ] || fail "PINS=neuron needs Python 3.9, found $version; set PYTHON=/path/to/python3.9"
        pins=constraints/neuron.txt
        what='.[torch,neuron,html]'
        set -- torchvision setuptools pip
    elif [ -n "${PINS:-}" ]; then
        fail "PINS=$PINS is unknown; leave it out, or give PINS=neuron"
    elif [ "$version" = 3.9 ]; then
        pins=constraints/py39.txt
    else
        pins=constraints/current.txt
        say "notice: no Python 3.9 here, using $version with current torch. Everything works but compiling for Inferentia, which needs 3.9."
    fi
    say "installing into .venv with Python $version ($FOUND), pinned by $pins"
    rm -rf .venv
    "$UV" venv --quiet --python "$FOUND" .venv
    choose_torch
    install --editable "$what" "$@"
    mkdir -p input_images output_depth
    echo "$pins" > .venv/pins
    touch .venv/has-base
    say "done: torch $(torch_version), .venv holds $(size)"
}

# add_extra NAME: its packages beside those that are here, by the pins of the base
add_extra() {
    pins=$(cat .venv/pins)
    if [ "$pins" != constraints/neuron.txt ]; then
        set -- "$1" --requirement pyproject.toml --extra "$1"
    else
        case $1 in
        serve | aws | exr | html | evaluate) set -- "$1" --requirement pyproject.toml --extra "$1" ;;
        dev) set -- "$1" pytest pytest-xdist hypothesis ;;
        *) set -- "$1" ;;
        esac
    fi
    extra=$1
    shift
    if [ $# -gt 0 ]; then
        say "adding $extra to .venv, once"
        install "$@"
        say "done: .venv holds $(size)"
    else
        say "notice: $extra is left out, its packages are not among those of $pins"
    fi
    touch ".venv/has-$extra"
}

UV=$(find_uv "${PYTHON:-}")
if [ $# -eq 0 ] || [ ! -e .venv/has-base ]; then make_base; fi
for extra in "$@"; do add_extra "$extra"; done
