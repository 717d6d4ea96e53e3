#!/usr/bin/env bash
# Calls the relay and the simulators with other people's clients.
set -euo pipefail
"$(dirname "$0")/tencent/run.sh"
exec "$(dirname "$0")/vendors/run.sh"
