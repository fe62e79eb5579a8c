#!/usr/bin/env bash
# The real mesh on one machine: Headscale, tailscaled, a master and two workers, on the loopback alone.
# Two machines enroll, join the mesh with the key they were given, and report over it, after the
# listener they enrolled at was closed for good; one restarts and does not join again; one is deleted
# and is gone from the mesh.
set -euo pipefail

readonly HEADSCALE=v0.29.2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
tools=$target/mesh-tools/headscale-$HEADSCALE
bin=${ENROLL_BIN:-$target/debug}

usage() {
    cat <<'TXT'
Usage: mesh.sh [COMMAND]

  (none)        the whole story, in a directory of its own that is removed at the end
  tools         builds headscale, tailscale and tailscaled with Go, once; prints where they are
  prepare DIR   the configuration and the certificate of a Headscale that lives in DIR
  account DIR   a user `fleet` and an API key, DIR/api.key, at the Headscale that runs in DIR

Environment
  ENROLL_BIN    where enroll-master and enroll-worker are; built where it is not set
  MESH_KEEP=1   leaves the directory, with every log, where it is

It needs Go 1.26.4 or later and openssl. Ends with 77 where there is no Go.
TXT
}

say() { printf '==> %s\n' "$*"; }
fail() { printf 'mesh.sh: %s\n' "$*" >&2; exit 1; }

# Headscale and the version of tailscale it was made with, in one build. The versions of all they
# stand on are those of Headscale's own go.mod.
build_tools() {
    [ -x "$tools/tailscaled" ] && [ -x "$tools/headscale" ] && [ -e "$tools/tailscale" ] && return
    command -v go >/dev/null || { echo "mesh.sh: SKIPPED: there is no Go here" >&2; exit 77; }
    say "building Headscale $HEADSCALE and tailscaled: minutes, once" >&2
    local module
    module=$(mktemp -d)
    printf 'module mesh\n\ngo 1.26\n\nrequire github.com/juanfont/headscale %s\n' "$HEADSCALE" >"$module/go.mod"
    mkdir -p "$tools"
    (
        cd "$module"
        export GOFLAGS="-mod=mod -buildvcs=false" CGO_ENABLED=0
        go build -o "$tools/" github.com/juanfont/headscale/cmd/headscale
        go build -tags ts_include_cli -o "$tools/" tailscale.com/cmd/tailscaled
    ) >&2
    rm -rf "$module"
    # Called by this name it is the command line.
    ln -sf tailscaled "$tools/tailscale"
}

# A port of the loopback that nobody listens on.
free_port() {
    local port
    while port=$(shuf -n 1 -i 20000-32000); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

prepare() {
    local dir=$1 port stun
    port=$(free_port) stun=$(free_port)
    mkdir -p "$dir"
    umask 077
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=mesh root" \
        -addext basicConstraints=critical,CA:TRUE -keyout "$dir/ca.key" -out "$dir/ca.crt" 2>/dev/null
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=headscale" \
        -keyout "$dir/tls.key" -out "$dir/tls.csr" 2>/dev/null
    printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' >"$dir/tls.ext"
    openssl x509 -req -in "$dir/tls.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -days 2 \
        -extfile "$dir/tls.ext" -out "$dir/tls.crt" 2>/dev/null
    echo "https://127.0.0.1:$port" >"$dir/url"
    cat >"$dir/config.yaml" <<YAML
server_url: https://127.0.0.1:$port
listen_addr: 127.0.0.1:$port
metrics_listen_addr: 127.0.0.1:0
grpc_listen_addr: 127.0.0.1:0
tls_cert_path: $dir/tls.crt
tls_key_path: $dir/tls.key
unix_socket: $dir/hs.sock
noise: { private_key_path: $dir/noise.key }
prefixes: { v4: 100.64.0.0/10, v6: "fd7a:115c:a1e0::/48", allocation: sequential }
database: { type: sqlite, sqlite: { path: $dir/headscale.db } }
# Relaying is Headscale's own business here: nothing leaves the machine.
derp:
  urls: []
  auto_update_enabled: false
  server:
    enabled: true
    region_id: 999
    region_code: here
    region_name: here
    verify_clients: true
    stun_listen_addr: 127.0.0.1:$stun
    private_key_path: $dir/derp.key
    automatically_add_embedded_derp_region: true
    ipv4: 127.0.0.1
dns: { magic_dns: false, base_domain: mesh.internal, override_local_dns: false }
disable_check_updates: true
log: { level: info, format: text }
YAML
}

headscale() { "$tools/headscale" --config "$1/config.yaml" "${@:2}"; }

account() {
    local dir=$1
    await "Headscale" headscale "$dir" users list
    headscale "$dir" users create fleet >/dev/null
    (umask 077; headscale "$dir" apikeys create | tail -n 1 >"$dir/api.key")
}

# Tries a command until it succeeds.
await() {
    local what=$1 until=$((SECONDS + 120))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || { "$@" || true; fail "$what did not come about"; }
        sleep 0.2
    done
}

# The text of a member in JSON, the first of its name.
member() { grep -o "\"$1\": *\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }

master() { "$bin/enroll-master" --data-dir "$lab/master" "$@"; }

# Starts the master; whoever enrolls does so at $1.
start_master() {
    rm -f "$lab/master/ready.json"
    SSL_CERT_FILE=$lab/hs/ca.crt "$bin/enroll-master" --data-dir "$lab/master" serve \
        --enroll-listen "$1" --steady-listen "127.0.0.1:$steady" --operator-listen 127.0.0.1:0 \
        --steady-addr "$mesh_ip:$steady" --advertise 127.0.0.1 --heartbeat-interval-secs 1 \
        --issue x509 --issue headscale --headscale-url "$(cat "$lab/hs/url")" \
        --headscale-api-key-path "$lab/hs/api.key" --headscale-user fleet >>"$lab/master.log" 2>&1 &
    master_pid=$!
    await "the master" test -e "$lab/master/ready.json"
}

# Starts worker $1, whose way into the mesh is at port $2.
start_worker() {
    PATH=$tools:$PATH SSL_CERT_FILE=$lab/hs/ca.crt "$bin/enroll-worker" serve --state-dir "$lab/$1" \
        --metrics-port 0 --mesh tailscaled --steady-proxy "127.0.0.1:$2" "${@:3}" >>"$lab/$1.log" 2>&1 &
}

names_in_mesh() { headscale "$lab/hs" nodes list --output json | grep -o '"given_name": *"[^"]*"' | cut -d '"' -f 4 | sort | tr '\n' ' '; }
in_mesh() { [ "$(names_in_mesh)" = "$*${*:+ }" ]; }
seen() { master node get "$1" --output json | member last_seen_at; }
is_ready() { [ "$(master node get "$1" --output json | member health)" = ready ]; }
beats_after() { [ "$(seen "$1")" \> "$2" ]; }

story() {
    build_tools
    [ -n "${ENROLL_BIN:-}" ] || cargo build --quiet --locked -p enroll-examples --bins
    # Not in a long path: the name of a socket has room for a hundred characters.
    lab=$(mktemp -d)
    # shellcheck disable=SC2154
    trap 'status=$?; end_story; exit $status' EXIT
    steady=$(free_port)

    say "Headscale, at $(prepare "$lab/hs"; cat "$lab/hs/url")"
    "$tools/headscale" --config "$lab/hs/config.yaml" serve >"$lab/headscale.log" 2>&1 &
    account "$lab/hs"

    say "the master's machine joins the mesh"
    mkdir -p "$lab/self"
    SSL_CERT_FILE=$lab/hs/ca.crt "$tools/tailscaled" --statedir "$lab/self" --socket "$lab/self/ts.sock" \
        --tun=userspace-networking --port=0 --no-logs-no-support >"$lab/tailscaled.log" 2>&1 &
    (umask 077; headscale "$lab/hs" preauthkeys create --user 1 | tail -n 1 >"$lab/self/key")
    await "the master's tailscaled" test -S "$lab/self/ts.sock"
    "$tools/tailscale" --socket "$lab/self/ts.sock" up --login-server "$(cat "$lab/hs/url")" \
        --auth-key "file:$lab/self/key" --hostname master --accept-dns=false --timeout 60s
    mesh_ip=$("$tools/tailscale" --socket "$lab/self/ts.sock" ip -4)

    say "a master that issues certificates and keys of the mesh; it is $mesh_ip there"
    start_master 127.0.0.1:0
    enroll=$(member enroll_url <"$lab/master/ready.json")

    local worker
    declare -A worker_pid proxy
    for worker in worker-1 worker-2; do
        say "$worker enrolls at $enroll, and joins"
        (umask 077; master token mint --ttl 10m --node-name "$worker" --output json | member invitation >"$lab/$worker.join")
        proxy[$worker]=$(free_port)
        start_worker "$worker" "${proxy[$worker]}" --join-path "$lab/$worker.join"
        worker_pid[$worker]=$!
    done
    for worker in worker-1 worker-2; do
        await "$worker's heartbeat over the mesh" is_ready "$worker"
        [ ! -e "$lab/$worker/mesh.json" ] || fail "$worker keeps the key it has joined with"
    done
    in_mesh master worker-1 worker-2 || fail "in the mesh: $(names_in_mesh)"
    master mesh list

    say "the master closes the listener they enrolled at, for good"
    kill "$master_pid"; wait "$master_pid" || true
    start_master none
    (exec 3<>"/dev/tcp/${enroll#https://}") 2>/dev/null && fail "$enroll still answers"
    for worker in worker-1 worker-2; do
        await "$worker's heartbeats without it" beats_after "$worker" "$(date -u +%Y-%m-%dT%H:%M:%S)"
    done

    say "worker-1 restarts"
    local before after
    before=$(headscale "$lab/hs" nodes list --output json | grep -cE '"(id|node_key)": ' || true)
    before+=" $(headscale "$lab/hs" preauthkeys list --output json | grep -c '"used": *true')"
    kill "${worker_pid[worker-1]}"; wait "${worker_pid[worker-1]}" || true
    start_worker worker-1 "${proxy[worker-1]}"
    await "worker-1's heartbeats after its restart" beats_after worker-1 "$(date -u +%Y-%m-%dT%H:%M:%S)"
    after=$(headscale "$lab/hs" nodes list --output json | grep -cE '"(id|node_key)": ' || true)
    after+=" $(headscale "$lab/hs" preauthkeys list --output json | grep -c '"used": *true')"
    [ "$before" = "$after" ] || fail "it joined again: $before, then $after"
    in_mesh master worker-1 worker-2 || fail "in the mesh: $(names_in_mesh)"

    say "worker-2 is deleted"
    master node delete worker-2
    in_mesh master worker-1 || fail "in the mesh: $(names_in_mesh)"
    await "worker-1's heartbeats go on" beats_after worker-1 "$(date -u +%Y-%m-%dT%H:%M:%S)"
    master mesh list

    say "no secret is where it should not be"
    local key
    for key in "$(cat "$lab/hs/api.key")" hskey-auth-; do
        ! grep -rqF -- "$key" "$lab"/*.log "$lab/master" || fail "${key:0:11}… is in a log or the store"
    done
    say "done"
}

end_story() {
    local pids
    pids=$(jobs -p)
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill $pids 2>/dev/null || true
    wait || true
    # shellcheck disable=SC2154
    [ "$status" = 0 ] || for log in "$lab"/*.log; do printf -- '---- %s\n' "$log"; tail -n 25 "$log"; done >&2
    [ -n "${MESH_KEEP:-}" ] && { echo "kept: $lab"; return; }
    rm -rf "$lab"
}

case ${1:-} in
    '') story ;;
    tools) build_tools; echo "$tools" ;;
    prepare) prepare "$2" ;;
    account) account "$2" ;;
    -h | --help) usage ;;
    *) usage >&2; exit 2 ;;
esac
