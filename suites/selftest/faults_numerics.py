"""Faults of the numbers that other engines were found to have, in ours."""

from __future__ import annotations

from suites.selftest.planting import Fault

_KERNELS = "suites/kernels/test_"
_TRUNCATE = "suites/graph_replay/test_truncate.py::"

NUMERICS_FAULTS: tuple[Fault, ...] = (
    Fault(
        name="f32-gemm-multiplies-in-tf32",
        file="engine/kernels/matmul_float.cuh",
        old="a[i][j] = __fmaf_rn(w[i], values[j], a[i][j]);",
        new="a[i][j] = __fmaf_rn(__uint_as_float(__float_as_uint(w[i]) & 0xffffe000u), values[j], a[i][j]);",
        checks=(f"{_KERNELS}matmul_f32.py::test_shapes[{{device}}-(34, 129, 3)]",),
        origin="23",
    ),
    Fault(
        name="activations-share-a-scale-among-64",
        file="engine/kernels/canon.cuh",
        old="for (int m = 4; m; m >>= 1) top = max(",
        new="for (int m = 8; m; m >>= 1) top = max(",
        checks=(f"{_KERNELS}quantize.py::test_shapes",),
        origin="29",
    ),
    Fault(
        name="a-truncation-leaves-the-position-on-the-device",
        file="engine/session.py",
        old="        self._buffers.position.write(np.array([length], np.int32))\n",
        new="",
        checks=(f"{_TRUNCATE}test_greedy_steps_go_on_from_there_with_the_token_of_the_last_step[{{device}}-on]",),
    ),
    Fault(
        name="a-position-stays-behind-a-truncation",
        file="engine/session.py",
        old="        self._length = length\n",
        new="        self._length = min(length + 1, self._length)\n",
        checks=(f"{_TRUNCATE}test_what_was_forgotten_leaves_no_trace[{{device}}-on]",),
        origin="32",
    ),
    Fault(
        name="more-items-than-32-bits-count",
        file="engine/ops/checks.py",
        old="    if items > MOST_ITEMS:\n",
        new="    if items > 2 * MOST_ITEMS:\n",
        checks=(f"{_KERNELS}sizes.py::test_more_items_than_a_kernel_counts_are_refused",),
        origin="19",
    ),
)
