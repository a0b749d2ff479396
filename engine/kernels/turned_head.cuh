// A new head by one warp: qk_norm and rope (NUMERICS 4 and 8), and how a cache takes it (NUMERICS 9).
#pragma once
#include "canon.cuh"

__device__ __forceinline__ void store(float* cell, float value) { *cell = value; }
__device__ __forceinline__ void store(unsigned short* cell, float value) { *cell = float_to_half(value); }

// A warp's share of what turns a head of at most WIDEST values: that of value lane + 32 u in element u.
template <int WIDEST> struct HeadTurn {
  static const int PER_LANE = WIDEST / 32;
  float gain[PER_LANE], cos[PER_LANE], sin[PER_LANE];

  // cos, sin: the row of this position.
  __device__ __forceinline__ HeadTurn(const float* weight, const float* cos_row, const float* sin_row, int head_dim,
                                      int pairs) {
#pragma unroll
    for (int u = 0; u < PER_LANE; u++) {
      const int i = ((int)threadIdx.x & 31) + 32 * u, pair = i < pairs ? i : i - pairs;
      const bool turns = i < 2 * pairs;
      gain[u] = i < head_dim ? weight[i] : 0.0f;
      cos[u] = turns ? cos_row[pair] : 0.0f;
      sin[u] = turns ? sin_row[pair] : 0.0f;
    }
  }
};

// put(i, value) for each value of a head after qk_norm with 32 chains and rope, by one warp. `normed`: room for a head
// in shared memory.
template <int WIDEST, class Put>
__device__ __forceinline__ void turned_head(float* normed, const float* in, const HeadTurn<WIDEST>& turn, int head_dim,
                                            int pairs, float eps, const Put& put) {
  const int lane = (int)threadIdx.x & 31, PER_LANE = WIDEST / 32;
  float x[PER_LANE];
#pragma unroll
  for (int u = 0; u < PER_LANE; u++) x[u] = lane + 32 * u < head_dim ? in[lane + 32 * u] : 0.0f;
  float chain = 0.0f;
#pragma unroll
  for (int u = 0; u < PER_LANE; u++) chain = __fmaf_rn(x[u], x[u], chain);  // zeros past the head move no bit
  const float mean = __fdiv_rn(warp_sum(chain), __int2float_rn(head_dim));
  const float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
#pragma unroll
  for (int u = 0; u < PER_LANE; u++) {
    x[u] = __fmul_rn(__fmul_rn(x[u], scale), turn.gain[u]);
    if (lane + 32 * u < head_dim) normed[lane + 32 * u] = x[u];
  }
  __syncwarp();
#pragma unroll
  for (int u = 0; u < PER_LANE; u++) {
    const int i = lane + 32 * u;
    if (i >= head_dim) continue;
    const bool turns = i < 2 * pairs, first = i < pairs;
    const float other = __fmul_rn(normed[!turns ? i : first ? i + pairs : i - pairs], turn.sin[u]);
    const float turned = __fmaf_rn(x[u], turn.cos[u], first ? -other : other);
    put(i, turns ? turned : x[u]);
  }
}
