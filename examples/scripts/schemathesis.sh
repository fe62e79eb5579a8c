#!/usr/bin/env bash
# Runs Schemathesis, which is installed first where it is not yet.
#   schemathesis.sh <directory for it> run <OpenAPI document> --url <URL> …
set -euo pipefail

readonly VERSION=4.32.5
home=$1/schemathesis-$VERSION
shift

install() {
    [ -z "${ENROLL_TEST_NO_INSTALL:-}" ] || {
        echo "Schemathesis is missing, and ENROLL_TEST_NO_INSTALL forbids to install it: python3 -m venv $home && $home/bin/pip install schemathesis==$VERSION" >&2
        exit 2
    }
    # A virtual environment knows where it was made, so it is made where it stays; the mark tells
    # whether it is whole.
    rm -rf "$home"
    python3 -m venv "$home"
    "$home/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$VERSION"
    touch "$home/whole"
}

mkdir -p "$(dirname "$home")"
exec 9>"$home.lock"
flock 9
[ -e "$home/whole" ] || install >&2
exec 9>&-
exec "$home/bin/st" "$@"
