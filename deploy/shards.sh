#!/usr/bin/env bash
# One process a NeuronCore: this machine's shards of a batch job, side by side.
#
#   deploy/shards.sh CORES --input s3://bucket/photos --output s3://bucket/depth ...
#
# Words after CORES are those of `python -m serve.batch run`. Of several machines, MACHINES says how many
# and MACHINE which one this is, 0 first; AWS Batch numbers the children of an array job itself. SIGTERM is
# handed on. Exit status: of the worst shard, 1 before 3 before 0.
set -euo pipefail

cores=$1
shift
machines=${MACHINES:-1}
machine=${MACHINE:-${AWS_BATCH_JOB_ARRAY_INDEX:-0}}

pids=()
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' TERM INT
for ((core = 0; core < cores; core++)); do
    NEURON_RT_VISIBLE_CORES=$core "${PYTHON:-python}" -m serve.batch run "$@" \
        --shard "$((machine * cores + core))/$((machines * cores))" &
    pids+=($!)
done

worst=0
for pid in "${pids[@]}"; do
    while true; do
        status=0
        wait "$pid" || status=$?
        kill -0 "$pid" 2>/dev/null || break # else a signal ended the wait, not the process
    done
    case $status in
        0) ;;
        3) [ "$worst" -eq 1 ] || worst=3 ;;
        *) worst=1 ;;
    esac
done
exit "$worst"
