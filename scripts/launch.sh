#!/usr/bin/env bash
# Starts the proxy with mitmweb and prints what to paste for an agent. `scripts/launch.sh demo` shows it all on built-in parts.
# Another command's name runs that command; anything else goes to `capture up` (see `scripts/launch.sh --help`).
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv
case ${1:-} in
  run | up | env | sessions | show | doctor | demo) exec "$venv/bin/capture" "$@" ;;
  *) exec "$venv/bin/capture" up "$@" ;;
esac
