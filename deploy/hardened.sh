#!/bin/sh
# A command in what docs/hardening.md asks of a container, without a container engine: nothing writable but
# a small /tmp that runs no programs, no root, no capabilities, no way to get any. For trying; needs root
# and Linux.
#
#   deploy/hardened.sh .venv/bin/python -m serve
#
#   TMP_SIZE=64m    of /tmp
#   RUN_AS=1000     user and group
set -eu
if [ "${1:-}" != --inside ]; then
    exec unshare --mount -- "$0" --inside "$PWD" "$@"
fi
shift
here=$1
shift
root=/mnt
mount --make-rprivate /
mount --rbind / "$root"
mount -t tmpfs -o "size=${TMP_SIZE:-64m},nosuid,nodev,noexec,mode=1777" tmpfs "$root/tmp"
findmnt --raw --noheadings --output TARGET --submounts "$root" | grep -v "^$root/tmp" | sort -r | while read -r place; do
    mount -o remount,bind,ro "$place" 2>/dev/null || :
done
# shellcheck disable=SC2016 the inner shell expands these
exec chroot "$root" setpriv --reuid "${RUN_AS:-1000}" --regid "${RUN_AS:-1000}" --clear-groups --no-new-privs \
    --bounding-set -all --inh-caps -all env HOME=/tmp PYTHONDONTWRITEBYTECODE=1 \
    sh -c 'cd "$1" && shift && exec "$@"' sh "$here" "$@"
