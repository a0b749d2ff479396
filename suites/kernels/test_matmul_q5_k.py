"""matmul_q5_k on every device against reference/ops/matmul_q5_k.py, by bits; matvec, few and gemm alike."""

from __future__ import annotations

import pytest

from engine.device import Device
from engine.devices.host import HostDevice
from suites.kernels import matmuls

TYPE = "Q5_K"


@pytest.mark.parametrize("shape", matmuls.shapes(TYPE), ids=str)
def test_shapes(device: Device, shape: matmuls.Shape) -> None:
    matmuls.check_shape(device, TYPE, shape)


@pytest.mark.parametrize("kind", matmuls.VALUES)
def test_values(device: Device, kind: str) -> None:
    matmuls.check_values(device, TYPE, kind)


def test_infinite_and_nan_scales(device: Device) -> None:
    matmuls.check_bad_scales(device, TYPE)


def test_forced_grids(device: Device) -> None:
    matmuls.check_grids(device, TYPE)


def test_a_row_of_a_batch_is_the_row_alone(device: Device) -> None:
    matmuls.check_rows_alone(device, TYPE)


def test_bands(device: Device) -> None:
    matmuls.check_bands(device, TYPE)


def test_schedules(host_variant: HostDevice) -> None:
    matmuls.check_schedule(host_variant, TYPE)
