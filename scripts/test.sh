#!/usr/bin/env bash
# Everything that must be true before a change lands: style, types, layout, tests. Arguments go to pytest.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv dev
cd "$root"
"$venv/bin/ruff" check --quiet
"$venv/bin/ruff" format --quiet --check
"$venv/bin/mypy" --no-error-summary
exec "$venv/bin/python" -m pytest "$@"
