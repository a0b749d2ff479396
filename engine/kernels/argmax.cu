// The token of the largest logit of each row.
// Formula:  NUMERICS 12: lowest index of a NaN, or else of the largest value
// Grid:     one item per row; 1024 threads.
// Order:    none: value and index make one integer, and the largest integer wins in any order.
// Rounding: none.
// Traffic:  logits once.
#include "canon.cuh"

// Larger for the logit that is to win: NaN above all, -0 as +0, of equal values the lower index.
__device__ __forceinline__ unsigned long long rank_of(float logit, int index) {
  const unsigned bits = __float_as_uint(logit == 0.0f ? 0.0f : logit);
  const unsigned ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  const unsigned value = is_nan(logit) ? 0xffffffffu : ordered;
  return (unsigned long long)value << 32 | (0xffffffffu - (unsigned)index);
}

__device__ __forceinline__ unsigned long long warp_top(unsigned long long rank) {
  for (int m = 16; m; m >>= 1) rank = max(rank, __shfl_xor_sync(WHOLE_WARP, rank, m));
  return rank;
}

// out: (rows,); logits: (rows, vocab), vocab >= 1
extern "C" __global__ void __launch_bounds__(1024) argmax(int* out, const float* logits, int rows, int vocab) {
  __shared__ unsigned long long tops[32];
  const int t = (int)threadIdx.x;
  pdl_launch_dependents();
  pdl_wait();
  for (int row = (int)blockIdx.x; row < rows; row += (int)gridDim.x) {
    const float* values = logits + (long long)row * vocab;
    unsigned long long top = 0;
#pragma unroll 8
    for (int i = t; i < vocab; i += 1024) top = max(top, rank_of(values[i], i));
    top = warp_top(top);
    if ((t & 31) == 0) tops[t >> 5] = top;
    __syncthreads();
    if (t < 32) {
      top = warp_top(tops[t]);
      if (t == 0) out[row] = (int)(0xffffffffu - (unsigned)top);
    }
    __syncthreads();  // tops is written again for the next row
  }
}
