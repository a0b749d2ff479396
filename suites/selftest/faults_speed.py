"""Faults that cost time and nothing else: only a gate on a GPU sees them."""

from __future__ import annotations

from suites.selftest.planting import Fault

_HEAD = """\
extern "C" __global__ void advance(int* token, int* position, int* tokens_out, int* count, const int* next_token,
                                   int capacity) {
  pdl_launch_dependents();
  pdl_wait();
"""
# The kernel runs once for each decoded token, on one thread. It waits for 3 % of the time since it last ended; a time
# that is twice the usual one holds a pause between two runs, and is not taken for a token's.
_CLOCK = """\
__device__ unsigned long long ended, usual;
__device__ __forceinline__ unsigned long long nanoseconds() {
  unsigned long long now;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now));
  return now;
}

"""
_WAIT = """\
  const unsigned long long start = nanoseconds(), step = start - ended;
  if (ended != 0 && (usual == 0 || step < 2 * usual)) usual = step;
  while (nanoseconds() - start < usual * 3 / 100) {
  }
  ended = nanoseconds();
"""

SPEED_FAULTS: tuple[Fault, ...] = (
    Fault(
        name="a-kernel-waits-for-3-percent-of-a-token",
        file="engine/kernels/advance.cu",
        old=_HEAD,
        new=_CLOCK + _HEAD + _WAIT,
        checks=("suites/selftest/test_slow_kernel.py::test_a_tree_is_as_fast_as_without_its_fault[{device}]",),
        cuda_only=True,
        timeout=1500.0,
    ),
)
