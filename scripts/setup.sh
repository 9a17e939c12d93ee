# Makes .venv in the checkout on first use; sourced by launch.sh and test.sh.
# use: setup_venv [extra]      `extra` is an optional dependency group of pyproject.toml (dev)
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null
}

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    is_new_enough "$PYTHON" && { echo "$PYTHON"; return; }
    echo "sse-capture: PYTHON=$PYTHON is no Python 3.12 or newer" >&2
    return 1
  fi
  for candidate in python3.14 python3.13 python3.12 python3; do
    candidate=$(command -v "$candidate" 2>/dev/null) || continue
    is_new_enough "$candidate" && { echo "$candidate"; return; }
  done
  if command -v uv >/dev/null 2>&1; then
    candidate=$(uv python find '>=3.12' 2>/dev/null) && is_new_enough "$candidate" && { echo "$candidate"; return; }
  fi
  for candidate in $(ls -d "${PYENV_ROOT:-${HOME:-/}/.pyenv}"/versions/3.1[2-9]*/bin/python 2>/dev/null | sort -rV); do
    is_new_enough "$candidate" && { echo "$candidate"; return; }
  done
  # the home of the account, where HOME names another folder
  for candidate in $(ls -d "$(getent passwd "$(id -u)" 2>/dev/null | cut -d: -f6)"/.pyenv/versions/3.1[2-9]*/bin/python 2>/dev/null | sort -rV); do
    is_new_enough "$candidate" && { echo "$candidate"; return; }
  done
  echo "sse-capture: no Python 3.12 or newer found: install one (apt install python3.12, brew install python, uv python install 3.13) or set PYTHON" >&2
  return 1
}

setup_venv() {
  local extra=${1:-} wanted log python
  wanted=$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)
  [ "$(cat "$venv/.ready${extra:+-$extra}" 2>/dev/null)" = "$wanted" ] && return
  python=$(find_python) || exit 2
  echo "sse-capture: setting up .venv with $("$python" -V) (once, about a minute)" >&2
  log=$(mktemp)
  if ! make_venv "$python" "$extra" >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    rm -f "$log"
    echo "sse-capture: .venv could not be set up (above: the last lines of the installer): is the package index reachable?" >&2
    exit 2
  fi
  rm -f "$log"
  echo "$wanted" >"$venv/.ready"
  [ -z "$extra" ] || echo "$wanted" >"$venv/.ready-$extra"
}

make_venv() {
  local python=$1 extra=$2
  is_new_enough "$venv/bin/python" || rm -rf "$venv"
  if command -v uv >/dev/null 2>&1; then
    [ -d "$venv" ] || uv venv --quiet --python "$python" "$venv" || return 1
    uv pip install --quiet --python "$venv/bin/python" -c "$root/constraints.txt" -e "$root${extra:+[$extra]}"
  else
    [ -d "$venv" ] || "$python" -m venv "$venv" || return 1
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" -e "$root${extra:+[$extra]}"
  fi
}
