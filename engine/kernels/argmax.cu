// The token of the largest logit of each row.
// Formula:  NUMERICS 12: lowest index of a NaN, or else of the largest value
// Grid:     items are (4096 logits, 1 row), 256 threads; the last block of a row to arrive compares its items' winners.
// Order:    none: value and index make one integer, and the largest integer wins in any order.
// Rounding: none.
// Traffic:  logits once; 8 bytes for each item once each way.
#include "canon.cuh"

static const int THREADS = 256, PART = 4096, WARPS = THREADS / 32;

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

// The largest of the block's, in thread 0.
__device__ __forceinline__ unsigned long long block_top(unsigned long long* tops, unsigned long long rank) {
  const int t = (int)threadIdx.x;
  rank = warp_top(rank);
  if ((t & 31) == 0) tops[t >> 5] = rank;
  __syncthreads();
  rank = t < 32 ? warp_top(t < WARPS ? tops[t] : 0) : 0;
  __syncthreads();  // tops is written again
  return rank;
}

// out: (rows,); parts: (rows, ceil(vocab / 4096)), scratch; arrivals: (rows,), zero before and after; logits: (rows,
// vocab), vocab >= 1.
extern "C" __global__ void __launch_bounds__(THREADS)
argmax(int* out, unsigned long long* parts, unsigned* arrivals, const float* logits, int rows, int vocab) {
  __shared__ unsigned long long tops[WARPS];
  __shared__ bool last;
  const int t = (int)threadIdx.x, count = (vocab + PART - 1) / PART;
  pdl_launch_dependents();
  pdl_wait();
  for (int item = (int)blockIdx.x; item < rows * count; item += (int)gridDim.x) {
    const int row = item / count, first = item % count * PART, end = min(first + PART, vocab);
    const float* values = logits + (long long)row * vocab;
    unsigned long long top = 0;
#pragma unroll 16
    for (int i = first + t; i < end; i += THREADS) top = max(top, rank_of(values[i], i));
    top = block_top(tops, top);
    if (t == 0) parts[item] = top;
    __syncthreads();
    if (t == 0) last = last_to_arrive(arrivals + row, (unsigned)count);
    __syncthreads();
    if (last) {
      top = 0;
      for (int i = t; i < count; i += THREADS) top = max(top, parts[row * count + i]);
      top = block_top(tops, top);
      if (t == 0) out[row] = (int)(0xffffffffu - (unsigned)top);
    }
    __syncthreads();  // `last` is written again for the next item
  }
}
