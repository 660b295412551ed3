#!/bin/sh
# Make .venv inside this clone and install the project into it, pinned by constraints/.
# Touches nothing outside the clone: uv, its cache and any Python it fetches go to .uv/ and .cache/.
# Choose the interpreter with PYTHON=...; everything else is found. PINS=neuron installs what lives
# with AWS's compiler for Inferentia instead (docs/inferentia.md); its wheels are added by hand.
set -eu
cd "$(dirname "$0")"

export UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.cache/uv}"
export UV_PYTHON_INSTALL_DIR="${UV_PYTHON_INSTALL_DIR:-$PWD/.cache/python}"
export PIP_CACHE_DIR="${PIP_CACHE_DIR:-$PWD/.cache/pip}"
# Trust what the system trusts, as pip does: company networks need it (older and newer name)
export UV_NATIVE_TLS="${UV_NATIVE_TLS:-1}" UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"
# uv does not read pip's setting for local wheels; a machine that has it set means it for us too
[ -z "${PIP_FIND_LINKS:-}" ] || export UV_FIND_LINKS="${UV_FIND_LINKS:-$PIP_FIND_LINKS}"

say() { printf '%s\n' "$*" >&2; }

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
        [ -n "$base" ] || { say "error: no Python 3.9 or newer found; install one, or set PYTHON=/path/to/python"; exit 1; }
        say "uv not found: installing it into .uv/"
        "$base" -m venv .uv >&2 && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv >&2
    fi
    echo "$PWD/.uv/bin/uv"
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || { say "error: PYTHON=$PYTHON does not run, or is older than 3.9"; exit 1; }
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

UV=$(find_uv "${PYTHON:-}")
FOUND=$(find_python)
[ -n "$FOUND" ] || { say "error: no Python 3.9 or newer found; install one, or set PYTHON=/path/to/python"; exit 1; }
VERSION=$("$FOUND" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
what='.[torch,onnx,openvino,int8,exr,serve,batch,ray,dev]'
if [ "${PINS:-}" = neuron ]; then
    [ "$VERSION" = 3.9 ] || { say "error: PINS=neuron needs Python 3.9, found $VERSION; set PYTHON=/path/to/python3.9"; exit 1; }
    pins=constraints/neuron.txt
    what='.[torch,neuron]'
elif [ -n "${PINS:-}" ]; then
    say "error: PINS=$PINS is unknown; leave it out, or give PINS=neuron"; exit 1
elif [ "$VERSION" = 3.9 ]; then
    pins=constraints/py39.txt
else
    pins=constraints/current.txt
    say "notice: no Python 3.9 here, using $VERSION with current torch. Everything works but compiling for Inferentia, which needs 3.9."
fi

say "installing into .venv with Python $VERSION ($FOUND), pinned by $pins"
rm -rf .venv
"$UV" venv --quiet --python "$FOUND" .venv
[ "$pins" != constraints/neuron.txt ] || set -- torchvision setuptools pip pytest pytest-xdist hypothesis
"$UV" pip install --quiet --python .venv/bin/python --constraint "$pins" --editable "$what" "$@"
mkdir -p input_images output_depth
touch .venv/installed
