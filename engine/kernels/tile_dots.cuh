// What the two skeletons that multiply by tensor cores share: few.cuh and gemm.cuh.
#pragma once
#include "weights.cuh"

__device__ __forceinline__ void spread(float (&to)[CHUNK_BLOCKS], const float4& from) {
  to[0] = from.x, to[1] = from.y, to[2] = from.z, to[3] = from.w;
}

// Adds the products of one mma tile, 16 weight rows by 8 activation rows by 32 columns; all in `low`, or for a type with
// HALVES those of the second 16 columns in `high`.
template <class Op>
__device__ __forceinline__ void add_products(int (&low)[4], int (&high)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  if constexpr (Op::HALVES) {
    const unsigned a_low[2] = {a[0], a[1]}, a_high[2] = {a[2], a[3]}, b_low[1] = {b[0]}, b_high[1] = {b[1]};
    mma_m16n8k16_s8(low, a_low, b_low, low);
    mma_m16n8k16_s8(high, a_high, b_high, high);
  } else {
    mma_m16n8k32_s8(low, a, b, low);
  }
}

// The four float(I) (float(J) for Q6_K) of one mma tile; elements 0, 1 belong to the scale of the first row, 2, 3 to that
// of the second.
template <class Op>
__device__ __forceinline__ void tile_dots(float (&dot)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                          const typename Op::Scale (&scale)[2]) {
  int low[4] = {}, high[4] = {};
  add_products<Op>(low, high, a, b);
#pragma unroll
  for (int i = 0; i < 4; i++) dot[i] = Op::dot(scale[i / 2], low[i], high[i]);
}
