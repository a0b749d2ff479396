#!/usr/bin/env bash
# What only a GPU can show, in pieces: scripts/gpu_check.sh [OPTION ...] [PIECE ...]
# No piece: all checks. The pieces that measure the gate itself (how noisy rows are, what it says of planted changes) and
# selftest, which compiles kernels anew for every planted fault, are asked for by name: aa-8b-Q4_K_M, gate-slow, timing,
# selftest, selftest-AREA; all of them are in gpu_pieces.sh.
#
#   -g GPUS     spread the pieces over these GPUs ("all", or numbers or UUIDs with commas), one piece at a time on each
#   -n N        so many processes for the tests of a piece and for the faults of a selftest
#   -t SECONDS  time limit of every piece, instead of its own
#   -T SECONDS  of everything: what runs then is interrupted, what has not begun is "not run"
#   -d DEVICE   cuda (default), or host: to try the script where there is no GPU
#   -z FILE     everything there as one .tar.gz, written anew when a piece has ended, for machines that give few files back
#
# Every piece leaves PIECE.json, PIECE.log and, for tests, PIECE.xml in ${OUT:-results/gpu_check}. A piece that passed
# there with the same sources on the same kind of device is not run again, and an interrupted aa, gate or selftest goes
# on where it was. Wheels in .whl/, if there are any, are unpacked into a temporary folder and used.
# Exit code: 0 all passed, 1 a piece failed, ran out of time or was not run, 2 the check could not start.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
# shellcheck source=scripts/gpu_pieces.sh
. scripts/gpu_pieces.sh

OUT=${OUT:-results/gpu_check}
case $OUT in /*) ;; *) OUT=$PWD/$OUT ;; esac
refuse() {
  echo "$1" >&2
  exit 2
}

find_python() {
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  if compgen -G '.whl/*.whl' >/dev/null; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" .whl/*.whl || exit 2
  fi
  local needed="click, gguf, msgspec, numpy, pytest, rich, scipy, xdist"
  [ "$device" = host ] || needed+=", cupy"
  if PYTHONPATH=$site python3 -c "import $needed" 2>/dev/null; then
    python=(python3)
    name_the_tree
    export PYTHONPATH="$PWD:$site"
  elif command -v uv >/dev/null; then
    python=(uv run --extra "${CUDA_EXTRA:-cuda13}" python)
  else
    refuse "python3 lacks CuPy or a dependency of pyproject.toml, and there is no uv to install them (pip install uv)"
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

# Every kernel with every set of options, once: processes that start together would each compile them for themselves.
precompile() {
  local folders options=([0]="") number
  [ "$device" = host ] || options+=(", portable=True")
  for folders in "" "Path('suites/devices/kernels')"; do
    for number in "${!options[@]}"; do
      "${python[@]}" -c "
from pathlib import Path
from engine.devices import open_device
open_device('$device', kernel_dirs=[$folders]${options[$number]}).precompile()" >>"$OUT/precompile.log" 2>&1 &
    done
  done
  wait
}

# As it is now: what another GPU's piece is writing meanwhile may be torn.
pack() {
  [ -n "$archive" ] || return 0
  tar czf "$archive.$BASHPID" -C "$OUT" . 2>/dev/null
  mv "$archive.$BASHPID" "$archive"
}

# One piece, within what is left of all. Its command is interrupted as by Ctrl-C, and keeps what it has finished.
run_piece() {
  local piece=$1 started=$SECONDS left status code
  if grep -qs "\"status\": \"passed\", \"sources\": \"$sources\"" "$OUT/$piece.json"; then
    printf '%-18s passed before, same sources\n' "$piece"
    return 0
  fi
  plan "$piece"
  limit=${time_limit:-$limit}
  left=$((whole - SECONDS))
  [ "$limit" -le "$left" ] || limit=$left
  if [ "$limit" -lt 5 ]; then
    code=124 status="not run"
  else
    timeout --foreground --signal=INT --kill-after=20 "$limit" "${command[@]}" >"$OUT/$piece.log" 2>&1
    code=$?
    case $code in 0) status=passed ;; 124 | 137) status="out of time" ;; 130) status=interrupted ;; *) status=failed ;; esac
  fi
  printf '{"piece": "%s", "status": "%s", "sources": "%s", "gpu": "%s", "exit_code": %d, "seconds": %d, "limit": %d}\n' \
    "$piece" "$status" "$sources" "${gpu:-}" "$code" $((SECONDS - started)) "$limit" >"$OUT/$piece.json"
  printf '%-18s %-12s %4d s  %s\n' "$piece" "$status" $((SECONDS - started)) "$(tail -n 1 "$OUT/$piece.log" 2>/dev/null)"
  pack
  [ "$status" != interrupted ] || exit 130
  [ "$status" = passed ]
}

# The pieces that no other GPU has taken, first those that were begun on this one. It keeps to its share of the cores, so
# that the tests beside a measurement do not disturb it.
work_on() {
  local number=$1 piece begun=() failed=0
  shift
  gpu=${gpus[$number]}
  [ "$device" = host ] || [ -z "$wanted" ] || export CUDA_VISIBLE_DEVICES=$gpu
  taskset -cp $((number * share))-$((number * share + share - 1)) "$BASHPID" >/dev/null 2>&1 || true # where there is one
  for piece in "$@"; do
    [ "$(cat "$OUT/$piece.gpu" 2>/dev/null)" != "$gpu" ] || begun+=("$piece")
  done
  for piece in ${begun[@]+"${begun[@]}"} "$@"; do
    mkdir "$claims/$piece" 2>/dev/null || continue
    echo "$gpu" >"$OUT/$piece.gpu"
    run_piece "$piece" || failed=1
  done
  return "$failed"
}

# By UUID: numbers need not mean the same to CUDA and to the driver's tools.
find_gpus() {
  local every name
  mapfile -t every < <(nvidia-smi --query-gpu=uuid --format=csv,noheader)
  if [ "$1" = all ]; then
    gpus=("${every[@]}")
  else
    for name in ${1//,/ }; do
      case $name in *[!0-9]*) gpus+=("$name") ;; *) gpus+=("${every[$name]:-}") ;; esac
    done
  fi
  for name in ${gpus[@]+"${gpus[@]}"}; do
    [[ -n $name && " ${every[*]} " == *" $name "* ]] || refuse "-g $1: no such GPU, expected some of ${every[*]}"
  done
  [ ${#gpus[@]} -gt 0 ] || refuse "-g $1: nvidia-smi names no GPU"
}

device=cuda processes=0 time_limit="" whole=1000000 wanted="" archive="" gpus=()
while getopts d:g:n:t:T:z: option; do
  case $option in
    d) device=$OPTARG ;;
    g) wanted=$OPTARG ;;
    n) processes=$OPTARG ;;
    t) time_limit=$OPTARG ;;
    T) whole=$OPTARG ;;
    z) archive=$(realpath -m "$OPTARG") ;;
    *) exit 2 ;;
  esac
done
shift $((OPTIND - 1))
case $device in host | cuda) ;; *) refuse "-d $device: expected host or cuda" ;; esac
for number in "-n $processes" "-t ${time_limit:-0}" "-T $whole"; do
  [[ $number =~ ^-.\ [0-9]+$ ]] || refuse "$number: expected a whole number$([[ $number = -n* ]] || echo " of seconds")"
done
[ $# -gt 0 ] || set -- "${CHECKS[@]}"
find_python
planted=("${python[@]}" scripts/planted_gate.py --matrix "$ROWS" --device "$device")
for piece in "$@"; do plan "$piece" || exit 2; done
if [ -z "$wanted" ]; then
  gpus=("${CUDA_VISIBLE_DEVICES:-}")
elif [ "$device" = host ]; then
  IFS=, read -ra gpus <<<"$wanted" # names only: what would run side by side
else
  find_gpus "$wanted"
fi
share=$(($(nproc) / ${#gpus[@]}))
[ "$share" -gt 0 ] || share=1
[ "$processes" = 0 ] || export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
mkdir -p "$OUT" ${archive:+"$(dirname "$archive")"} || exit 2
sources=$device-$(hash_sources)
claims=$(mktemp -d) || exit 2
trap 'rm -rf "$site" "$claims"' EXIT
precompile
set -m # a group of its own for each GPU: what is interrupted there is Python's to handle
groups=() # not jobs -p, which forgets those that have ended, and how
for number in "${!gpus[@]}"; do
  work_on "$number" "$@" &
  groups+=("$!")
done
trap 'for group in "${groups[@]}"; do kill -INT -- "-$group" 2>/dev/null; done' INT TERM
failed=0
for group in "${groups[@]}"; do wait "$group" || failed=1; done
wait # an interrupt ends the waiting before the pieces have said what became of them
exit "$failed"
