#!/usr/bin/env bash
# Calls the relay with other people's clients.
set -euo pipefail
exec "$(dirname "$0")/tencent/run.sh"
