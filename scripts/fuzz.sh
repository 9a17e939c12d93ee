#!/usr/bin/env bash
# Fuzzes parsers, redactor, recorder and readers under atheris; tells for each target executions, CPU seconds, findings.
set -euo pipefail

targets="frames encodings redacting held recorded split laidout logs"

usage() {
  cat <<TEXT
scripts/fuzz.sh MINUTES [TARGET]

Feeds any bytes to what reads bytes, guided by what code they reach, and tells for each target executions, CPU seconds and
findings. MINUTES are shared by the targets, one after the other, one core. What a run learns stays in .fuzz/ for the next one;
what it finds, too: the bytes belong into tests/test_fuzz.py. Needs atheris, which is installed into .venv (Python 3.12 or 3.13).

  TARGET   one of: $targets

Exit 0: nothing found. 1: something found. 2: wrong use, or atheris cannot be installed.
TEXT
}

refuse() {
  echo "scripts/fuzz.sh: $1" >&2
  exit 2
}

case ${1:-} in
  --help | -h) usage; exit 0 ;;
  -*) refuse "there is no option $1 (--help says more)" ;;
esac
[ $# -ge 1 ] || refuse "say for how many minutes (--help says more)"
[ $# -le 2 ] || refuse "write MINUTES and at most one TARGET (--help says more)"
[[ $1 =~ ^[0-9]+(\.[0-9]+)?$ && $1 =~ [1-9] ]] || refuse "$1 is no number of minutes (--help says more)"
[ $# -eq 1 ] || [[ " $targets " == *" $2 "* ]] || refuse "there is no target $2: choose one of $targets"

. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv dev
log=$(mktemp)
export PIP_ONLY_BINARY=atheris UV_NO_BUILD_PACKAGE=atheris # it has no wheel for every Python, and is not built here
if ! (setup_venv fuzz) 2>"$log"; then
  refuse "atheris cannot be installed for $("$venv/bin/python" -V): remove .venv, set PYTHON to a Python 3.12 or 3.13 (why: $log)"
fi
rm -f "$log"
cd "$root"
exec nice -n 5 "$venv/bin/python" -m tests.fuzz "$@"
