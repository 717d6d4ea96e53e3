#!/usr/bin/env bash
# Other people's clients of the vendors against the simulators of this tree. Needs cargo, node, npm
# and python3.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
sim=
trap '[ -z "$sim" ] || kill "$sim" 2>/dev/null || true; rm -rf "$work"' EXIT

(cd ../../.. && cargo build --locked)
program=$(cd ../../.. && cargo metadata --format-version 1 --no-deps |
    python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/debug/offpush

cp package.json package-lock.json requirements.txt ./*.mjs ./*.py "$work"
cd "$work"
python3 -m venv python
python/bin/pip install --quiet --requirement requirements.txt
npm ci --silent --no-audit --no-fund

"$program" sim --listen 127.0.0.1:0 --output json --out out >sim.json 2>log &
sim=$!
for _ in $(seq 100); do
    python3 -c 'import json; json.load(open("sim.json"))' 2>/dev/null && break
    kill -0 "$sim" 2>/dev/null || break
    sleep 0.1
done
[ -s sim.json ] || { cat log; exit 1; }

export NODE_EXTRA_CA_CERTS=out/ca.pem REQUESTS_CA_BUNDLE=out/ca.pem
node node_apn.mjs
python/bin/python aioapns_push.py
python/bin/python fcm.py
python/bin/python huawei.py
node xiaomi_push.mjs
