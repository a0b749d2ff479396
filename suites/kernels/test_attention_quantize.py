"""attention_quantize on every device against reference/ops/attention_quantize.py, by bits."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.attention import Scratch, attention_scratch
from engine.ops.attention_quantize import attention_quantize
from engine.ops.quantize import Quantized
from reference.ops import attention_quantize as oracle
from suites.kernels.cases import GRIDS, KINDS, Kind, run
from suites.kernels.quantized import assert_same_quantized, outputs
from suites.kernels.test_attention import Case

CASES = [
    Case(rows=rows, heads=heads, kv_heads=kv_heads, head_dim=head_dim, context=position + rows + 1, position=position)
    for rows, heads, kv_heads, head_dim, position in (
        (1, 4, 2, 32, 0), (1, 3, 1, 32, 255), (1, 8, 2, 128, 256), (2, 5, 5, 96, 511), (1, 2, 1, 256, 600),
        (3, 1, 1, 32, 9),
    )
]  # fmt: skip


def _check(device: Device, case: Case, kind: Kind = "normal", *, grid_limit: int | None = None) -> None:
    tensors = case.tensors(kind)
    scratch = attention_scratch(case.rows, case.heads, case.head_dim, case.context)
    results = run(
        device,
        tensors,
        {
            **{name: (shape, np.float32) for name, shape in scratch.items()},
            **outputs(case.rows, case.heads * case.head_dim),
        },
        lambda stream, b: attention_quantize(
            stream, b["q"], b["keys"], b["values"], b["position"], scale=case.scale, scratch=Scratch.from_arena(b),
            out=Quantized(codes=b["codes"], scales=b["scales"], sums=b["sums"]),
        ),
        grid_limit=grid_limit,
    )  # fmt: skip
    expected = oracle.exact(tensors["q"], tensors["keys"], tensors["values"], case.position, scale=case.scale)
    assert_same_quantized(results, expected, f"attention_quantize {case}")


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_shapes(device: Device, case: Case, grid_limit: int | None) -> None:
    _check(device, case, grid_limit=grid_limit)


@pytest.mark.parametrize("kind", KINDS)
def test_values(device: Device, kind: Kind) -> None:
    _check(device, CASES[3], kind)


def test_schedules(host_variant: HostDevice) -> None:
    _check(host_variant, CASES[1], grid_limit=2)


def test_a_head_of_34_is_refused(device: Device) -> None:
    case = Case(rows=1, heads=2, kv_heads=1, head_dim=34, context=3, position=0)
    with pytest.raises(LaunchError, match=r"^attention_quantize: head_dim is 34, expected a multiple of 32$"):
        _check(device, case)
