# What the pieces of scripts/gpu_check.sh run. That script reads this one, and sets OUT, python, planted, device, gpu,
# sources and processes (0: tests one after the other).

CHECKS=(doctor devices kernels graph prefill invariance families portable check-kernel bench)
MEASURES=(aa-8b-Q4_K_M aa-8b-Q8_0 aa-0.6b-Q8_0 aa-0.6b-Q4_K_M gate-same gate-slow gate-wrong timing targets)
ROWS=suites/performance/calibration.toml

# Sets `limit` (seconds) and `command`.
plan() {
  local zeroulp=("${python[@]}" -c 'from harness.cli.main import main; main()') suite=() begun
  local folder="$OUT/$1-${gpu:-$device}-${sources:-}" # a run belongs to a GPU, a device and code
  command=()
  case $1 in
    devices) # one process: some look at clocks
      limit=300 suite=(-n 0 suites/devices/test_cuda_*.py suites/devices/test_{interface,ptx_conformance}.py)
      ;;
    kernels) limit=900 suite=(-n "$processes" suites/kernels) ;;
    graph) limit=600 suite=(-n "$processes" suites/graph_replay) ;;
    prefill) limit=900 suite=(-n "$processes" suites/prefill) ;;
    invariance) limit=600 suite=(-n "$processes" suites/invariance) ;;
    families) limit=900 suite=(-n "$processes" suites/families) ;;
    check-kernel) limit=300 suite=(-n 0 suites/harness/test_check_kernel_devices.py) ;;
    portable)
      suite=(-n "$processes" suites/kernels suites/graph_replay suites/prefill suites/invariance suites/families)
      limit=1800 suite+=(--portable)
      ;;
    timing)
      limit=600 suite=(-n 0 suites/performance/test_kernels.py --benchmark-enable)
      suite+=("--benchmark-json=$OUT/kernels.benchmark.json")
      ;;
    doctor) limit=120 command=("${zeroulp[@]}" doctor) ;;
    bench | targets | targets-*) # targets-MODEL-QUANT: those rows; "zeroulp store merge" puts them together
      limit=1800 command=("${zeroulp[@]}" bench allrows)
      begun=$(compgen -G "$folder/*/plan.json" | tail -n 1)
      if [ -n "$begun" ]; then
        command+=(--resume "${begun%/plan.json}")
      else
        [ "$1" = bench ] || command+=(harness/targets.toml)
        command+=(--device "$device" --out "$folder")
        local rows=${1#targets-}
        [ "$rows" = "$1" ] || command+=(--where "model == \"qwen3-${rows%%-*}\" and quant == \"${rows#*-}\"")
      fi
      ;;
    aa-*)
      limit=1800 command=("${zeroulp[@]}" aa)
      if [ -f "$folder/aa-plan.json" ]; then
        command+=(--resume "$folder")
      else
        local name=${1#aa-}
        command+=("$ROWS" --rounds 8 --device "$device" --out "$folder")
        command+=(--where "model == \"qwen3-${name%%-*}\" and quant == \"${name#*-}\"")
        [ "$device" = cuda ] || command+=(--parity-only)
      fi
      ;;
    # Not the prefill of 2048 tokens of a small model: an A/A run on an H200 found it ungateable.
    gate-same)
      limit=1800 command=("${planted[@]}" same "$folder")
      command+=(--where 'quant == "Q8_0" and model != "qwen3-8b" and (prompt != 2048 or depth > 0)')
      ;;
    gate-slow | gate-wrong)
      limit=1800 command=("${planted[@]}" "${1#gate-}" "$folder")
      command+=(--where 'quant == "Q8_0" and model != "qwen3-8b" and prompt != 2048 and context <= 8192 and depth == 0')
      ;;
    selftest | selftest-*)
      limit=7200 command=("${zeroulp[@]}" selftest)
      [ "$processes" = 0 ] || command+=(-n "$processes")
      if [ -f "$folder/selftest-plan.json" ]; then
        command+=(--resume "$folder")
      else
        command+=(--device "$device" --out "$folder")
        [ "$1" = selftest ] || command+=(--faults "${1#selftest-}")
      fi
      ;;
    *)
      echo "unknown piece $1: expected one of ${CHECKS[*]} ${MEASURES[*]} selftest selftest-AREA" >&2
      return 2
      ;;
  esac
  if [ ${#suite[@]} -gt 0 ]; then
    command=("${python[@]}" -m pytest -q -p no:cacheprovider --device "$device" --junit-xml "$OUT/$1.xml" "${suite[@]}")
  fi
}
