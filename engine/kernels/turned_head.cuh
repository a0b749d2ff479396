// A new head by one warp: qk_norm and rope (NUMERICS 4 and 8), and how a cache takes it (NUMERICS 9).
#pragma once
#include "canon.cuh"

__device__ __forceinline__ void store(float* cell, float value) { *cell = value; }
__device__ __forceinline__ void store(unsigned short* cell, float value) { *cell = float_to_half(value); }

// A warp's share of what turns a head of at most WIDEST values: that of value lane + 32 u in element u.
template <int WIDEST> struct HeadTurn {
  static const int PER_LANE = WIDEST / 32;
  float gain[PER_LANE], cos[PER_LANE], sin[PER_LANE];
  float part;  // 1 / head_dim where that is a power of two, and a product with it as exact as the division; else 0

  // cos, sin: the row of this position.
  __device__ __forceinline__ HeadTurn(const float* weight, const float* cos_row, const float* sin_row, int head_dim,
                                      int pairs)
      : part(head_dim & (head_dim - 1) ? 0.0f : __fdiv_rn(1.0f, __int2float_rn(head_dim))) {
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

// A warp's share of a head: value lane + 32 u in x[u], zeros past the head, or without one.
template <int WIDEST>
__device__ __forceinline__ void load_head(float (&x)[WIDEST / 32], const float* head, int head_dim) {
  const int lane = (int)threadIdx.x & 31;
#pragma unroll
  for (int u = 0; u < WIDEST / 32; u++) x[u] = head != nullptr && lane + 32 * u < head_dim ? head[lane + 32 * u] : 0.0f;
}

// qk_norm with 32 chains and rope of a head, by one warp. `normed`: room for a head in shared memory.
template <int WIDEST>
__device__ __forceinline__ void turn_head(float (&x)[WIDEST / 32], float* normed, const HeadTurn<WIDEST>& turn, int head_dim,
                                          int pairs, float eps) {
  const int lane = (int)threadIdx.x & 31, PER_LANE = WIDEST / 32;
  float chain = 0.0f;
#pragma unroll
  for (int u = 0; u < PER_LANE; u++) chain = __fmaf_rn(x[u], x[u], chain);  // zeros past the head move no bit
  const float sum = warp_sum(chain);
  const float mean = turn.part != 0.0f ? __fmul_rn(sum, turn.part) : __fdiv_rn(sum, __int2float_rn(head_dim));
  const float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
#pragma unroll
  for (int u = 0; u < PER_LANE; u++) {
    x[u] = __fmul_rn(__fmul_rn(x[u], scale), turn.gain[u]);
    if (lane + 32 * u < head_dim) normed[lane + 32 * u] = x[u];
  }
  __syncwarp();
  float mate[PER_LANE];
#pragma unroll
  for (int u = 0; u < PER_LANE; u++) {
    const int i = lane + 32 * u;
    mate[u] = i < 2 * pairs ? normed[i < pairs ? i + pairs : i - pairs] : 0.0f;
  }
#pragma unroll
  for (int u = 0; u < PER_LANE; u++) {
    const int i = lane + 32 * u;
    const bool turns = i < 2 * pairs, first = i < pairs;
    const float other = __fmul_rn(mate[u], turn.sin[u]);
    const float turned = __fmaf_rn(x[u], turn.cos[u], first ? -other : other);
    x[u] = turns ? turned : x[u];
  }
}
