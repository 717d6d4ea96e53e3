#!/usr/bin/env bash
# Other people's Tencent clients against a relay of this tree. Needs cargo, node, npm and python3.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
relay=
trap '[ -z "$relay" ] || kill "$relay" 2>/dev/null || true; rm -rf "$work"' EXIT

(cd ../../.. && cargo build --locked)
program=$(cd ../../.. && cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/debug/offpush

cp package.json package-lock.json usersig.mjs rest.py requirements.txt "$work"
python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet --requirement "$work/requirements.txt"
(cd "$work" && npm ci --silent --no-audit --no-fund)

app=1400000001 key=a-key-of-the-check
export OFFPUSH_ADMIN_KEY=the-operator-of-the-check
cat >"$work/offpush.toml" <<TOML
listen = "127.0.0.1:0"
data_dir = "$work/data"
[store]
engine = "memory"
TOML
"$program" serve --config "$work/offpush.toml" >"$work/log" 2>&1 &
relay=$!
base=
for _ in $(seq 100); do
    base=$(sed -n 's/^listening on //p' "$work/log")
    [ -n "$base" ] && break
    sleep 0.1
done
curl --silent --fail --output /dev/null -X PUT "$base/v1/apps/$app" \
    -H "authorization: Bearer $OFFPUSH_ADMIN_KEY" -H 'content-type: application/json' \
    -d "{\"usersig_keys\":[\"$key\"]}" || { cat "$work/log"; exit 1; }
(cd "$work" && node usersig.mjs "$base" "$app" "$key")
(cd "$work" && python/bin/python rest.py "$base" "$app" "$key")
