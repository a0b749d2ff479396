#!/usr/bin/env bash
# What only a GPU can show, in pieces: scripts/gpu_check.sh [-t SECONDS] [PIECE ...]
# No piece: all of them but selftest, which compiles kernels anew for every planted fault and is asked for by its name.
#
# Every piece has a time limit of its own (-t sets one for all) and leaves PIECE.json, PIECE.log and, for tests, PIECE.xml
# in ${OUT:-results/gpu_check}. A piece that passed there with the same sources is not run again, so a stopped check goes
# on where it was. Wheels in .whl/, if there are any, are unpacked into a temporary folder and used.
# Exit code: 0 all passed, 1 a piece failed or ran out of time, 2 the check could not start.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2

OUT=${OUT:-results/gpu_check}
PIECES=(doctor devices kernels graph prefill invariance families portable bench)

# Sets `limit` (seconds) and `command` for a piece.
plan() {
  local suite=() zeroulp=("${python[@]}" -c 'from harness.cli.main import main; main()')
  local tried="$OUT/selftest-${sources:-}" begun=--out
  case $1 in
    devices) limit=300 suite=(suites/devices) ;;
    kernels) limit=900 suite=(suites/kernels) ;;
    graph) limit=600 suite=(suites/graph_replay) ;;
    prefill) limit=900 suite=(suites/prefill) ;;
    invariance) limit=600 suite=(suites/invariance) ;;
    families) limit=900 suite=(suites/families) ;;
    portable)
      limit=1800 suite=(suites/kernels suites/graph_replay suites/prefill suites/invariance suites/families --portable) ;;
    doctor) limit=120 command=("${zeroulp[@]}" doctor) ;;
    bench) limit=1800 command=("${zeroulp[@]}" bench allrows --device cuda --out "$OUT/bench") ;;
    selftest)
      [ -d "$tried" ] && begun=--resume
      limit=7200 command=("${zeroulp[@]}" selftest "$begun" "$tried")
      [ "$begun" = --resume ] || command+=(--device cuda)
      ;;
    *) echo "unknown piece $1: expected one of ${PIECES[*]} selftest" >&2; exit 2 ;;
  esac
  if [ ${#suite[@]} -gt 0 ]; then
    command=("${python[@]}" -m pytest -q -n 0 -p no:cacheprovider --device cuda --junit-xml "$OUT/$1.xml" "${suite[@]}")
  fi
}

find_python() {
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  if compgen -G '.whl/*.whl' >/dev/null; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .whl/*.whl || exit 2
  fi
  if PYTHONPATH=$site python3 -c 'import click, cupy, gguf, msgspec, numpy, pytest, rich, xdist' 2>/dev/null; then
    python=(python3)
    name_the_tree
    export PYTHONPATH="$PWD:$site"
  elif command -v uv >/dev/null; then
    python=(uv run --extra "${CUDA_EXTRA:-cuda13}" python)
  else
    echo "python3 lacks CuPy or a dependency of pyproject.toml, and there is no uv to install them (pip install uv)" >&2
    exit 2
  fi
}

# The tree runs as it is, not installed; its version is asked for by the name of the distribution all the same.
name_the_tree() {
  local version
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
  mkdir -p "$site/zeroulp-$version.dist-info"
  printf 'Metadata-Version: 2.1\nName: zeroulp\nVersion: %s\n' "$version" >"$site/zeroulp-$version.dist-info/METADATA"
}

# One word for everything that a result depends on, so that an old one is not taken for a new one.
hash_sources() {
  find engine harness reference reports suites scripts pyproject.toml -type f -not -path '*/__pycache__/*' -print0 |
    LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-16
}

run_piece() {
  local piece=$1 started=$SECONDS status code
  plan "$piece"
  limit=${time_limit:-$limit}
  if grep -qs "\"status\": \"passed\", \"sources\": \"$sources\"" "$OUT/$piece.json"; then
    printf '%-12s passed before, same sources\n' "$piece"
    return 0
  fi
  timeout --kill-after=10 "$limit" "${command[@]}" >"$OUT/$piece.log" 2>&1
  code=$?
  case $code in 0) status=passed ;; 124 | 137) status="out of time" ;; *) status=failed ;; esac
  printf '{"piece": "%s", "status": "%s", "sources": "%s", "exit_code": %d, "seconds": %d, "limit": %d}\n' \
    "$piece" "$status" "$sources" "$code" $((SECONDS - started)) "$limit" >"$OUT/$piece.json"
  printf '%-12s %-12s %4d s  %s\n' "$piece" "$status" $((SECONDS - started)) "$(tail -n 1 "$OUT/$piece.log")"
  [ "$status" = passed ]
}

time_limit=""
if [ "${1:-}" = -t ]; then
  time_limit=${2:?seconds}
  shift 2
fi
[ $# -gt 0 ] || set -- "${PIECES[@]}"
find_python
for piece in "$@"; do plan "$piece"; done
mkdir -p "$OUT" || exit 2
sources=$(hash_sources)
failed=0
for piece in "$@"; do run_piece "$piece" || failed=1; done
exit "$failed"
