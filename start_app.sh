#!/bin/sh
# The app in a browser, started in the background; its address is printed once the page answers.
#
#   ./start_app.sh [--port N] [options of `python app.py`]     start it; twice in a row starts it anew
#   ./start_app.sh --status        whether it runs, and where
#   ./start_app.sh --stop          stop the one that this script started
#
# Only what this script started is ever stopped: its process number and the time of its start are in
# WORKSPACE/app.pid. A port that others have taken is theirs: the next free one is taken, unless --port says which.
# DA3_WORKSPACE_DIR, PYTHON, HF_ENDPOINT and the rest are as they are set.
set -eu
cd "$(dirname "$0")"
workspace=${DA3_WORKSPACE_DIR:-workspace/gradio}
file=$workspace/app.pid log=$workspace/app.log
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=python3
: "${PYTORCH_CUDA_ALLOC_CONF:=expandable_segments:True}"
export PYTORCH_CUDA_ALLOC_CONF

say() { printf '%s\n' "$*" >&2; }
started() { ps -o lstart= -p "$1" 2>/dev/null | tr -s ' '; }
running() { # sets pid and port; true if the process of the file is still that one
    [ -f "$file" ] || return 1
    { read -r pid && read -r port && read -r since; } < "$file" || return 1
    [ -n "$since" ] && [ "$(started "$pid" | sed 's/^ *//; s/ *$//')" = "$since" ]
}
stop() {
    if ! running; then rm -f "$file"; return 1; fi
    kill "$pid" 2>/dev/null || :
    for _ in 1 2 3 4 5 6 7 8 9 10; do running || break; sleep 0.5; done
    if running; then kill -9 "$pid" 2>/dev/null || :; fi
    rm -f "$file"
    say "stopped the app that ran as process $pid"
}
taken() { "$python" -c 'import socket, sys
with socket.socket() as one: one.settimeout(1); sys.exit(one.connect_ex(("127.0.0.1", int(sys.argv[1]))) != 0)' "$1"; }
owner() { command -v lsof >/dev/null 2>&1 && lsof -nP -iTCP:"$1" -sTCP:LISTEN 2>/dev/null | awk 'NR == 2 { print " by " $1 ", process " $2 }'; }

wanted=
case ${1:-} in
--stop) stop || say "no app of this script runs"; exit 0 ;;
--status) if running; then echo "runs as process $pid: http://127.0.0.1:$port/"; exit 0; fi; echo "does not run"; exit 1 ;;
--port) wanted=${2:?--port needs a number}; shift 2 ;;
esac
own=
if running; then own=$port; fi
if [ -n "$wanted" ] && [ "$wanted" != "$own" ] && taken "$wanted"; then
    say "error: port $wanted is taken$(owner "$wanted"); name another --port"; exit 1
fi
stop || :
port=${wanted:-7860}
while taken "$port"; do
    say "port $port is taken$(owner "$port"): trying the next"
    port=$((port + 1))
done
mkdir -p "$workspace"
nohup "$python" app.py --port "$port" "$@" > "$log" 2>&1 &
pid=$!
printf '%s\n%s\n%s\n' "$pid" "$port" "$(started "$pid" | sed 's/^ *//; s/ *$//')" > "$file"
until taken "$port"; do
    if ! kill -0 "$pid" 2>/dev/null; then rm -f "$file"; tail -n 5 "$log" >&2; say "error: the app did not start; more in $log"; exit 1; fi
    sleep 0.5
done
echo "http://127.0.0.1:$port/"
