#!/usr/bin/env bash
# Puts a new worker on a machine that is a member already, and restarts it. Its identity stays.
set -euo pipefail

usage() {
    cat <<'TXT'
Usage: refresh_worker.sh [USER@]HOST

Builds enroll-worker here, copies it over ssh, and restarts the service or the container that runs it
there, whichever there is. Where there are both, it asks which by refusing.

Environment
  MODE_OVERRIDE   systemd or docker-image: which of the two is meant
  SERVICE         the unit, or the container [default: enroll-worker]
  PROGRAM         where the worker is, there [default: /usr/local/bin/enroll-worker]
  TARGET          what to build for, e.g. aarch64-unknown-linux-gnu [default: this machine]
  BINARY          a worker that was built already; nothing is built then

The user there is root, or may call sudo without a password.
TXT
}

say() { printf '==> %s\n' "$*"; }
fail() { printf 'refresh_worker.sh: %s\n' "$*" >&2; exit 1; }

case ${1:-} in
    -h | --help) usage; exit 0 ;;
    '' | -*) usage >&2; exit 2 ;;
esac
[ $# = 1 ] || { usage >&2; exit 2; }
host=$1
service=${SERVICE:-enroll-worker}
program=${PROGRAM:-/usr/local/bin/enroll-worker}
mode=${MODE_OVERRIDE:-}
case $mode in
    '' | systemd | docker-image) ;;
    *) fail "MODE_OVERRIDE is neither systemd nor docker-image" ;;
esac

# Runs a line of shell there. What it names is quoted by whoever calls.
there() { ssh -o BatchMode=yes -- "$host" "$1"; }
quoted() { printf '%q' "$1"; }
# shellcheck disable=SC2016 # it is to be read there
as_root='root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; };'

say "what runs $service on $host"
unit=$(quoted "$service.service") container=$(quoted "$service")
found=$(there "$as_root
    if systemctl cat $unit >/dev/null 2>&1; then echo systemd; fi
    if root docker container inspect $container >/dev/null 2>&1; then echo docker-image; fi
    echo machine \$(uname -m)")
machine=$(sed -n 's/^machine //p' <<<"$found")
modes=$(grep -xE 'systemd|docker-image' <<<"$found" || true)
if [ -n "$mode" ]; then
    grep -qx "$mode" <<<"$modes" || fail "there is no $mode of the name $service on $host"
elif [ -z "$modes" ]; then
    fail "neither a unit nor a container of the name $service is on $host: enroll it first"
elif [ "$modes" = docker-image ] || [ "$modes" = systemd ]; then
    mode=$modes
else
    fail "both a unit and a container of the name $service are on $host; say which is meant:
  MODE_OVERRIDE=systemd or MODE_OVERRIDE=docker-image"
fi
say "$mode"

if [ -n "${BINARY:-}" ]; then
    binary=$BINARY
else
    wanted=${TARGET:-$(uname -m)-}
    wanted=${wanted%%-*}
    # Rust says armv7 and riscv64gc where a kernel says armv7l and riscv64.
    [[ $machine == "$wanted"* || $wanted == "$machine"* ]] \
        || fail "$host is $machine and the build would be for $wanted: give TARGET"
    say "building"
    cd "$(dirname "${BASH_SOURCE[0]}")/../.."
    cargo build --release --locked --package enroll-examples --bin enroll-worker \
        ${TARGET:+--target "$TARGET"}
    binary=${CARGO_TARGET_DIR:-target}/${TARGET:+$TARGET/}release/enroll-worker
fi
[ -f "$binary" ] || fail "$binary is not there"

say "copying"
staged=$(there 'umask 077; mktemp -d')
scp -q -o BatchMode=yes -- "$binary" "$host:$staged/enroll-worker"
from=$(quoted "$staged/enroll-worker") to=$(quoted "$program")
clean="rm -rf -- $(quoted "$staged")"

say "restarting"
case $mode in
    systemd)
        # In one step: a worker that starts meanwhile finds the old one or the new one, whole.
        there "$as_root set -e; trap $(quoted "$clean") EXIT
            root install -m 0755 $from $to.new && root mv -f $to.new $to
            root systemctl restart $unit
            root systemctl is-active $unit"
        ;;
    docker-image)
        there "$as_root set -e; trap $(quoted "$clean") EXIT
            chmod 0755 $from
            root docker cp $from $container:$to
            root docker restart $container"
        ;;
esac
say "done: $host goes on as the node it was"
