#!/usr/bin/env bash
# Everything that must be true before a change lands: style, types, layout, tests. With arguments, which go to pytest: only these tests.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv dev
cd "$root"
"$venv/bin/ruff" check --quiet
"$venv/bin/ruff" format --quiet --check
"$venv/bin/mypy" --no-error-summary
[ $# -eq 0 ] || exec "$venv/bin/python" -m pytest "$@"

# Faults measure how long things take: they have the machine to themselves, the other tests share its processors.
status=0
"$venv/bin/python" -m pytest tests --ignore tests/faults --numprocesses logical --maxprocesses 4 --dist loadfile || status=1
"$venv/bin/python" -m pytest tests/faults || status=1
exit "$status"
