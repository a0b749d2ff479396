// What the two skeletons that multiply by tensor cores share: few.cuh and gemm.cuh.
#pragma once
#include "weights.cuh"

__device__ __forceinline__ void spread(float (&to)[CHUNK_BLOCKS], const float4& from) {
  to[0] = from.x, to[1] = from.y, to[2] = from.z, to[3] = from.w;
}

// The four float(I) (float(J) for Q6_K) of one mma tile; elements 0, 1 belong to the scale of the first row, 2, 3 to that
// of the second.
template <class Op>
__device__ __forceinline__ void tile_dots(float (&dot)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                          const typename Op::Scale (&scale)[2]) {
  const int zero[4] = {0, 0, 0, 0};
  if constexpr (Op::HALVES) {
    const unsigned a_low[2] = {a[0], a[1]}, a_high[2] = {a[2], a[3]}, b_low[1] = {b[0]}, b_high[1] = {b[1]};
    int low[4], high[4];
    mma_m16n8k16_s8(low, a_low, b_low, zero);
    mma_m16n8k16_s8(high, a_high, b_high, zero);
#pragma unroll
    for (int i = 0; i < 4; i++) dot[i] = Op::dot(scale[i / 2], low[i], high[i]);
  } else {
    int sum[4];
    mma_m16n8k32_s8(sum, a, b, zero);
#pragma unroll
    for (int i = 0; i < 4; i++) dot[i] = __int2float_rn(sum[i]);
  }
}
