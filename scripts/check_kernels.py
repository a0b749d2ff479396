"""Compiles every kernel for sm_80, sm_90 and sm_100, without a GPU, and checks its PTX and what ptxas says of it.

Needs the wheels nvidia-cuda-nvrtc and cuda-bindings (the dependency group `lint`). Exit code 0 if every kernel keeps
the rules, 1 if one breaks a rule, 2 if something does not compile or is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from engine.device import DeviceError
from engine.devices.cuda.lint import ARCHITECTURES, KernelReport, check_sources
from engine.devices.cuda.nvrtc import KERNELS, nvrtc_version, read_sources
from reference.spec.errors import NoDevice

COLUMNS = "{:<34} {:>5} {:>9} {:>7} {:>6} {:>7}  {}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the reports as JSON instead of a table")
    parser.add_argument("--kernels", type=Path, default=KERNELS, help="folder of .cu files (default: the engine's)")
    arguments = parser.parse_args()
    try:
        reports = check_sources(read_sources((arguments.kernels,)).values())
    except (DeviceError, NoDevice) as error:
        print(error, file=sys.stderr)
        return 2
    if not reports:
        print(f"no kernels in {arguments.kernels}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps({"nvrtc": nvrtc_version(), "kernels": [asdict(report) for report in reports]}, indent=1))
    else:
        _print_table(reports)
    return 0 if all(report.passed for report in reports) else 1


def _print_table(reports: list[KernelReport]) -> None:
    print(COLUMNS.format("kernel", "sm", "registers", "shared", "stack", "spills", ""))
    for report in reports:
        used = report.resources
        spills = used.spill_stores + used.spill_loads
        name = f"{report.module}.{report.kernel}"
        verdict = "ok" if report.passed else f"{len(report.findings)} findings"
        print(COLUMNS.format(name, report.architecture, used.registers, used.shared, used.stack, spills, verdict))
    for report in reports:
        for finding in report.findings:
            print(f"{report.module}.{report.kernel} sm_{report.architecture}: {finding.rule}: {finding.text}")
    bad = sum(not report.passed for report in reports)
    count = len(reports) // len(ARCHITECTURES)
    print(f"{count} kernels x {len(ARCHITECTURES)} architectures, NVRTC {nvrtc_version()}: {bad} with findings")


if __name__ == "__main__":
    sys.exit(main())
