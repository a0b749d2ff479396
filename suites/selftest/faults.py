"""The catalogue of planted faults, by what they are planted in."""

from __future__ import annotations

from collections.abc import Mapping

from suites.selftest.faults_engine import ENGINE_FAULTS
from suites.selftest.faults_fused import FUSED_FAULTS
from suites.selftest.faults_gate import GATE_FAULTS
from suites.selftest.faults_kernels import KERNEL_FAULTS
from suites.selftest.faults_launchers import LAUNCHER_FAULTS
from suites.selftest.faults_matmul import MATMUL_FAULTS
from suites.selftest.faults_measurement import MEASUREMENT_FAULTS
from suites.selftest.faults_numerics import NUMERICS_FAULTS
from suites.selftest.faults_records import RECORD_FAULTS
from suites.selftest.faults_speed import SPEED_FAULTS
from suites.selftest.faults_statistics import STATISTICS_FAULTS
from suites.selftest.faults_targets import TARGET_FAULTS
from suites.selftest.faults_where import WHERE_FAULTS
from suites.selftest.planting import Fault

AREAS: Mapping[str, tuple[Fault, ...]] = {
    "engine": ENGINE_FAULTS,
    "launchers": LAUNCHER_FAULTS,
    "kernels": KERNEL_FAULTS,
    "matmul": MATMUL_FAULTS,
    "fused": FUSED_FAULTS,
    "numerics": NUMERICS_FAULTS,
    "where": WHERE_FAULTS,
    "measurement": MEASUREMENT_FAULTS,
    "statistics": STATISTICS_FAULTS,
    "gate": GATE_FAULTS,
    "records": RECORD_FAULTS,
    "speed": SPEED_FAULTS,
    "targets": TARGET_FAULTS,
}
INSTRUMENT = ("where", "measurement", "statistics", "gate", "records", "speed", "targets")

FAULTS: tuple[Fault, ...] = tuple(fault for area in AREAS.values() for fault in area)
