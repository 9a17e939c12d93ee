# Makes .venv in the checkout on first use; sourced by launch.sh and test.sh.
# use: setup_venv [extra]      `extra` is an optional dependency group of pyproject.toml (dev)
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

is_new_enough() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null
}

# Debian's python3.x without python3.x-venv cannot make an environment (uv can do without)
can_make_venv() {
  is_new_enough "$1" && { command -v uv >/dev/null 2>&1 || "$1" -c 'import ensurepip, venv' 2>/dev/null; }
}

# the interpreters a machine may have, the likeliest first; the account's own home, too, where HOME names another folder
candidates() {
  local name home
  for name in python3.14 python3.13 python3.12 python3; do
    command -v "$name" 2>/dev/null
  done
  if command -v uv >/dev/null 2>&1; then
    uv python find '>=3.12' 2>/dev/null
  fi
  home=$(getent passwd "$(id -u)" 2>/dev/null | cut -d: -f6)
  ls -d {"${PYENV_ROOT:-${HOME:-/}/.pyenv}","$home/.pyenv"}/versions/3.1[2-9]*/bin/python 2>/dev/null | sort -rV
}

find_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    can_make_venv "$PYTHON" && { echo "$PYTHON"; return; }
    echo "sse-capture: PYTHON=$PYTHON is no Python 3.12 or newer with venv" >&2
    return 1
  fi
  while read -r candidate; do
    can_make_venv "$candidate" && { echo "$candidate"; return; }
  done < <(candidates)
  echo "sse-capture: no Python 3.12 or newer with venv found: install one (apt install python3.12-venv, brew install python, uv python install 3.13) or set PYTHON" >&2
  return 1
}

wanted() {
  cat "$root/pyproject.toml" "$root"/constraints*.txt | cksum
}

is_ready() {
  [ "$(cat "$venv/.ready${1:+-$1}" 2>/dev/null)" = "$(wanted)" ]
}

setup_venv() {
  local extra=${1:-} python log lock=$root/.venv.lock
  is_ready "$extra" && return
  python=$(find_python) || exit 2
  until mkdir "$lock" 2>/dev/null; do # another start is at it
    if ! kill -0 "$(cat "$lock/pid" 2>/dev/null || echo $$)" 2>/dev/null; then rm -rf "$lock"; fi
    sleep 0.5
  done
  echo $$ >"$lock/pid"
  trap 'rm -rf "$lock"' EXIT
  if ! is_ready "$extra"; then
    echo "sse-capture: setting up .venv with $("$python" -V) (once, about half a minute)" >&2
    log=$(mktemp)
    if ! make_venv "$python" "$extra" >"$log" 2>&1; then
      tail -n 15 "$log" >&2
      echo "sse-capture: .venv could not be set up: above are the installer's last words, all of them in $log" >&2
      exit 2
    fi
    rm -f "$log"
    wanted | tee "$venv/.ready" >"$venv/.ready${extra:+-$extra}"
  fi
  rm -rf "$lock"
  trap - EXIT
}

make_venv() {
  local python=$1 extra=$2 pins=$root/constraints.txt
  is_new_enough "$venv/bin/python" && python=$venv/bin/python || rm -rf "$venv"
  # mitmproxy 12.2 wants an older typing_extensions on 3.12, and with it an older pydantic, which knows no 3.14
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 13))'; then pins=$root/constraints-3.12.txt; fi
  if command -v uv >/dev/null 2>&1; then
    [ -d "$venv" ] || uv venv --quiet --python "$python" "$venv" || { rm -rf "$venv"; return 1; }
    uv pip install --quiet --python "$venv/bin/python" -c "$pins" -e "$root${extra:+[$extra]}"
  else
    "$venv/bin/python" -m pip --version || { rm -rf "$venv" && "$python" -m venv "$venv"; } || { rm -rf "$venv"; return 1; }
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$pins" -e "$root${extra:+[$extra]}"
  fi
}
