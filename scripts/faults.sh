#!/usr/bin/env bash
# Makes the faults of docs/reliability.md, tells for each row runs, passes and figures, and writes the page's table anew.
set -euo pipefail

usage() {
  cat <<'TEXT'
scripts/faults.sh [--rows 1,5-9] [--minutes N]

Makes the faults of the table in docs/reliability.md as often as for its figures, tells for each row how often, how many
passed, and the figures, and writes the page's table anew. Rows that do not run keep their line. All rows take about half an
hour, a third of it the 200 kills of row 11.

  --rows 1,5-9   only these rows
  --minutes N    how long the soak (row 54) runs; else 2 minutes

Exit 0: all passed. 1: a row failed (its line says so). 2: wrong use.
TEXT
}

refuse() {
  echo "scripts/faults.sh: $1 (--help says more)" >&2
  exit 2
}

rows=1-55 minutes=2
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --rows | --minutes) [ $# -gt 1 ] || refuse "$1 needs a value" ;;
    *) refuse "there is no option $1" ;;
  esac
  case $1 in
    --rows) rows=$2 ;;
    --minutes) minutes=$2 ;;
  esac
  shift 2
done
[[ $minutes =~ ^[0-9]+(\.[0-9]+)?$ ]] || refuse "--minutes $minutes: write a number"
[[ $rows =~ ^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$ ]] || refuse "--rows $rows: write numbers and ranges, as in 1,5-9"

. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
setup_venv dev
cd "$root"
status=0
"$venv/bin/python" -m pytest tests --long --rows "$rows" --minutes "$minutes" --report docs/reliability.md || status=$?
[ "$status" != 4 ] || exit 2 # pytest's own word for wrong use
exit "$status"
