// The fold of the values of one split, and the sum of its exponentials.
#pragma once
#include "step_heads.cuh"

// A cell, or two neighbouring ones, on their way from shared memory. A register for each load: two loads in one would have
// to be waited for together.
template <class Cell, int COUNT> struct Cells;
template <> struct Cells<float, 1> {
  float cell;
  __device__ __forceinline__ void load(const float* from) { cell = *from; }
  __device__ __forceinline__ void unpack(float (&to)[1]) const { to[0] = cell; }
};
template <> struct Cells<unsigned short, 1> {
  unsigned cell;
  __device__ __forceinline__ void load(const unsigned short* from) { cell = *from; }
  __device__ __forceinline__ void unpack(float (&to)[1]) const { to[0] = half_to_float((unsigned short)cell); }
};
template <> struct Cells<float, 2> {
  float2 cells;
  __device__ __forceinline__ void load(const float* from) { cells = *reinterpret_cast<const float2*>(from); }
  __device__ __forceinline__ void unpack(float (&to)[2]) const { to[0] = cells.x, to[1] = cells.y; }
};
template <> struct Cells<unsigned short, 2> {
  unsigned cells;
  __device__ __forceinline__ void load(const unsigned short* from) { cells = *reinterpret_cast<const unsigned*>(from); }
  __device__ __forceinline__ void unpack(float (&to)[2]) const { Packed<unsigned short>::unpack(to, cells); }
};

// Folds the values at `cells` with the p_j of M queries.
template <class Cell, int M, int D>
__device__ __forceinline__ void fold_one(float (&o)[M][D], const float* p, const Cell* cells) {
  Cells<Cell, D> loaded;
  loaded.load(cells);
  float value[D];
  loaded.unpack(value);
#pragma unroll
  for (int i = 0; i < M; i++)
#pragma unroll
    for (int d = 0; d < D; d++) o[i][d] = __fmaf_rn(p[i], value[d], o[i][d]);
}

// STEP keys' p_j of M queries and D values of each, on their way from shared memory.
template <class Cell, int STRIDE, int M, int D> struct Folded {
  static const int STEP = 8;
  float4 p[STEP * M / 4];
  Cells<Cell, D> v[STEP];
  __device__ __forceinline__ void load(const float4* from, const Cell* cells) {
#pragma unroll
    for (int u = 0; u < STEP; u++) v[u].load(cells + u * STRIDE);
#pragma unroll
    for (int i = 0; i < STEP * M / 4; i++) p[i] = from[i];
  }
  __device__ __forceinline__ void fold(float (&o)[M][D]) const {
#pragma unroll
    for (int u = 0; u < STEP; u++) {
      float value[D];
      v[u].unpack(value);
#pragma unroll
      for (int i = 0; i < M; i++) {
        const float4& four = p[(u * M + i) / 4];
        const int at = (u * M + i) % 4;
        const float weight = at == 0 ? four.x : at == 1 ? four.y : at == 2 ? four.z : four.w;
#pragma unroll
        for (int d = 0; d < D; d++) o[i][d] = __fmaf_rn(weight, value[d], o[i][d]);
      }
    }
  }
};

// Folds `count` rows of values, STRIDE cells apart, of which `cells` is this thread's first, into o. Two steps are in
// registers, the younger one on its way; past the last whole step the one before is loaded again.
template <class Cell, int STRIDE, int M, int D>
__device__ __forceinline__ void fold(float (&o)[M][D], const float4* p, const Cell* cells, int count) {
  using Part = Folded<Cell, STRIDE, M, D>;
  const int STEP = Part::STEP, TURNS = Packed<Cell>::PER_WORD;  // floats leave no registers for two
  int left = count;
  if (left >= STEP) {
    Part now, next;
    now.load(p, cells);
#pragma unroll TURNS
    for (; left >= STEP; left -= STEP) {
      const int on = left >= 2 * STEP ? STEP : 0;
      p += on * M / 4, cells += on * STRIDE;
      next.load(p, cells);
      now.fold(o);
      now = next;
    }
    p += STEP * M / 4, cells += STEP * STRIDE;
  }
#pragma unroll 1
  for (int j = 0; j < left; j++) fold_one<Cell, M, D>(o, reinterpret_cast<const float*>(p) + j * M, cells + j * STRIDE);
}

// Adds up `count` p_j of a query among M; the next ones are on their way meanwhile.
template <int M> __device__ __forceinline__ float add_up(float l, const float* p, int count) {
  const int STEP = 16;
  float now[STEP], next[STEP];
  int left = count;
  if (left >= STEP) {
#pragma unroll
    for (int u = 0; u < STEP; u++) now[u] = p[u * M];
#pragma unroll 2
    for (; left >= STEP; left -= STEP) {
      p += left >= 2 * STEP ? STEP * M : 0;
#pragma unroll
      for (int u = 0; u < STEP; u++) next[u] = p[u * M];
#pragma unroll
      for (int u = 0; u < STEP; u++) l = __fadd_rn(l, now[u]), now[u] = next[u];
    }
    p += STEP * M;
  }
#pragma unroll 1
  for (int j = 0; j < left; j++) l = __fadd_rn(l, p[j * M]);
  return l;
}
