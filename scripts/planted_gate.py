"""A gate of this tree against itself with a known change in it: whether the gate of this machine says what it must.

same: nothing is changed, the gate passes. slow: a kernel waits for 3 % of each token's time, the gate says slower.
wrong: a rounding is done in another order, the gate names the first bit that differs. The arms are wheels made here, so
that neither git nor an index of packages is needed. What was begun in FOLDER goes on. FOLDER gets found.json.
Exit code 0 if the gate said what it must, 1 if it did not, else the gate's: 2 a bad call, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from harness.cli.main import zeroulp
from harness.gate.schema import PLAN_FILE, GateResult, read_gate
from suites.selftest.faults import FAULTS
from suites.selftest.planting import scratch_copy
from suites.selftest.wheels import write_wheel

PLANTED = {
    "same": "",
    "slow": "a-kernel-waits-for-3-percent-of-a-token",
    "wrong": "rms-norm-rounds-scale-and-weight-first",
}
ROW_FACTS = ("label", "metric", "verdict", "base_us", "head_us", "ratio", "low", "high", "pairs", "smallest_visible")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("change", choices=PLANTED)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--matrix", type=Path, required=True, help="rows, as for zeroulp gate")
    parser.add_argument("--where", help="only rows for which this holds")
    parser.add_argument("--device", choices=["host", "cuda"], default="cuda")
    asked = parser.parse_args()
    begun = time.monotonic()
    gate = asked.folder / "gate"
    if (gate / PLAN_FILE).is_file():
        code = zeroulp(["gate", "--resume", str(gate)])
    else:
        base, head = wheels(asked.folder / "wheels", PLANTED[asked.change])
        options = ["--matrix", str(asked.matrix), "--device", asked.device, "--environments", "shared"]
        options += ["--where", asked.where] if asked.where else []
        code = zeroulp(["gate", str(base), str(head), *options, "--out", str(gate)])
    if not (gate / "gate.json").is_file():
        return code
    result = read_gate(gate / "gate.json")
    if code != result.exit_code:  # an earlier gate left it
        return code or 2
    fit = as_it_must(result, asked.change)
    found = {
        "change": asked.change,
        "fault": PLANTED[asked.change],
        "as_it_must": fit,
        "exit_code": code,
        "headline": result.headline,
        "seconds": time.monotonic() - begun,
        "pairs": result.pairs_spent,
        "first_divergence": result.parity.first_divergence,
        "reproduce": result.parity.reproduce,
        "canaries": [{"name": canary.name, "ratio": canary.ratio, "moved": canary.moved} for canary in result.canaries],
        "rows": [{name: getattr(row, name) for name in (*ROW_FACTS, "confirmation", "reason")} for row in result.rows],
    }
    (asked.folder / "found.json").write_text(json.dumps(found, indent=2) + "\n")
    print(f"{asked.change}: {'as it must' if fit else 'NOT as it must'}: {result.headline}")
    return 0 if fit else 1


def wheels(folder: Path, fault: str) -> tuple[Path, Path]:
    """This tree, and the same with the fault in it."""
    made = []
    for side in ("base", "head"):
        with tempfile.TemporaryDirectory() as scratch:
            tree = scratch_copy(Path(scratch))
            for planted in (planted for planted in FAULTS if planted.name == fault and side == "head"):
                planted.plant(tree)
            made.append(write_wheel(tree, folder.absolute() / side))
    return made[0], made[1]


def as_it_must(result: GateResult, change: str) -> bool:
    """By the exit code and by what it stands on. The host device has no times: a slow kernel cannot be seen there."""
    verdicts = {(row.metric, row.verdict) for row in result.rows}
    if change == "wrong":
        return result.exit_code == 1 and ("parity", "wrong") in verdicts and bool(result.parity.first_divergence)
    if change == "slow" and result.device == "cuda":
        return result.exit_code == 1 and ("decode", "slower") in verdicts and ("parity", "wrong") not in verdicts
    return result.exit_code == 0 and {verdict for _, verdict in verdicts} <= {"same", "faster"}


if __name__ == "__main__":
    sys.exit(main())
