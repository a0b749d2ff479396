"""The catalogue of planted faults."""

from __future__ import annotations

from suites.selftest.faults_engine import ENGINE_FAULTS
from suites.selftest.faults_fused import FUSED_FAULTS
from suites.selftest.faults_kernels import KERNEL_FAULTS
from suites.selftest.faults_launchers import LAUNCHER_FAULTS
from suites.selftest.faults_matmul import MATMUL_FAULTS
from suites.selftest.faults_where import WHERE_FAULTS
from suites.selftest.planting import Fault

FAULTS: tuple[Fault, ...] = (
    *ENGINE_FAULTS,
    *LAUNCHER_FAULTS,
    *KERNEL_FAULTS,
    *MATMUL_FAULTS,
    *FUSED_FAULTS,
    *WHERE_FAULTS,
)
