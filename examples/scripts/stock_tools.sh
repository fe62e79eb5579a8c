#!/usr/bin/env bash
# Makes this machine a member of a fleet with nothing but openssl and curl, then judges what came of
# it with the same two.
set -euo pipefail

usage() {
    cat <<'TXT'
Usage: stock_tools.sh ENROLL_URL CA_CERT TOKEN_FILE NODE_NAME DIR [LISTENER…]

  ENROLL_URL   e.g. https://master:7480
  CA_CERT      the root certificate of the fleet, in PEM
  TOKEN_FILE   a file that holds the join token
  NODE_NAME    the name to enroll as
  DIR          where agent.key, agent.crt and ca.crt are put; made if need be
  LISTENER     HOST:PORT of further listeners whose certificate is to be checked

Environment
  SHARED_SECRET_FILE   a file that holds the cluster secret, where the master wants one
TXT
}

[ $# -ge 5 ] || { usage >&2; exit 2; }
url=${1%/} ca=$2 token_file=$3 name=$4 dir=$5
shift 5

say() { printf '==> %s\n' "$*"; }
fail() { printf 'stock_tools.sh: %s\n' "$*" >&2; exit 1; }

# The text of a member of a flat JSON answer. PEM in JSON has its line ends escaped.
member() { sed -n "s/.*\"$1\"[[:space:]]*:[[:space:]]*\"\\([^\"]*\\)\".*/\\1/p" | head -n 1; }
lines() { sed 's/\\n/\n/g'; }

# A request body for curl: one line, line ends escaped. Secrets go by file, never by argv.
escaped() { awk '{ printf "%s\\n", $0 }' "$1"; }

umask 077
mkdir -p "$dir"
cp "$ca" "$dir/ca.crt"

say "a P-384 key and a certificate request"
openssl ecparam -name secp384r1 -genkey -noout -out "$dir/agent.key"
openssl req -new -sha384 -key "$dir/agent.key" -subj "/CN=$name" -out "$dir/agent.csr"

say "enrolling as $name"
{
    printf '{"token":"%s",' "$(cat "$token_file")"
    if [ -n "${SHARED_SECRET_FILE:-}" ]; then
        printf '"shared_secret":"%s",' "$(cat "$SHARED_SECRET_FILE")"
    fi
    printf '"node_name":"%s","csr":"%s"}' "$name" "$(escaped "$dir/agent.csr")"
} >"$dir/request.json"
status=$(curl --silent --show-error --noproxy '*' --cacert "$ca" --output "$dir/answer.json" \
    --write-out '%{http_code}' --header 'Content-Type: application/json' \
    --data-binary "@$dir/request.json" "$url/v1/enroll")
rm "$dir/request.json"
[ "$status" = 200 ] || fail "refused with $status: $(member reason <"$dir/answer.json")"
member certificate <"$dir/answer.json" | lines >"$dir/agent.crt"
steady=$(member master_addr <"$dir/answer.json")

say "the certificate chains to the root, and is of this key"
openssl verify -x509_strict -CAfile "$ca" -purpose sslclient "$dir/agent.crt"
openssl verify -x509_strict -CAfile "$ca" -purpose sslserver "$dir/agent.crt"
[ "$(openssl x509 -in "$dir/agent.crt" -noout -pubkey)" = \
    "$(openssl pkey -in "$dir/agent.key" -pubout)" ] || fail "the certificate is of another key"

say "a heartbeat to $steady"
curl --silent --show-error --fail --noproxy '*' --cacert "$ca" \
    --cert "$dir/agent.crt" --key "$dir/agent.key" --header 'Content-Type: application/json' \
    --data "{\"node_name\":\"$name\"}" "https://$steady/v1/self/heartbeat"
echo

for listener in "${url#https://}" "$steady" "$@"; do
    say "the certificate of $listener"
    host=${listener%:*}
    case $host in
        *[!0-9.]*) named=-verify_hostname ;;
        *) named=-verify_ip ;;
    esac
    openssl s_client -connect "$listener" -CAfile "$ca" -verify_return_error \
        "$named" "$host" -cert "$dir/agent.crt" -key "$dir/agent.key" \
        </dev/null 2>&1 | tee "$dir/handshake.txt" | grep -F 'Verify return code: 0 (ok)' \
        || fail "$(cat "$dir/handshake.txt")"
done
