// The scores of one split for the queries of an item, and their exponentials.
#pragma once
#include "step_chunks.cuh"

// The first of the KEYS keys that a thread scores, 32 apart; those of a warp are neighbours.
template <int KEYS> __device__ __forceinline__ int first_key() {
  const int t = (int)threadIdx.x;
  return (t & 31) + (t >> 5) * 32 * KEYS;
}

// KEY_PIECES pieces of the keys of a thread: piece u of key j lies at at[j][u ^ swap[j]].
template <int KEYS> struct KeyPlaces {
  const uint4* at[KEYS];
  int swap[KEYS];

  // Of chunk c, in `stage`. The key of this step lies elsewhere; in place of one that is not seen stands the first.
  __device__ __forceinline__ KeyPlaces(const StepShared& shared, const uint4* stage, const StepItem& item, int c) {
#pragma unroll
    for (int j = 0; j < KEYS; j++) {
      const int own = first_key<KEYS>() + 32 * j, key = own < item.seen() ? own : first_key<KEYS>();
      const bool is_new = key == item.cached;
      at[j] = is_new ? shared.key + c * KEY_PIECES : stage + key * KEY_PIECES;
      swap[j] = is_new ? 0 : key_place(key, 0);
    }
  }
};

// Adds the products of KEY_PIECES pieces to the s_j of M queries.
template <class Cell, int M, int KEYS>
__device__ __forceinline__ void score(float (&s)[KEYS][M], const float4* q, const KeyPlaces<KEYS>& keys) {
  const int cells = Packed<Cell>::PER_PIECE;
#pragma unroll
  for (int u = 0; u < KEY_PIECES; u++) {
    float k[KEYS][cells];
#pragma unroll
    for (int j = 0; j < KEYS; j++) unpack_piece<Cell>(k[j], keys.at[j][u ^ keys.swap[j]]);
#pragma unroll
    for (int e = 0; e < cells; e += 4) {
      float four[4 * M];  // of q, [d][M]
#pragma unroll
      for (int i = 0; i < M; i++) {
        const float4 part = q[(u * cells + e) * M / 4 + i];
        four[4 * i] = part.x, four[4 * i + 1] = part.y, four[4 * i + 2] = part.z, four[4 * i + 3] = part.w;
      }
#pragma unroll
      for (int d = 0; d < 4; d++)
#pragma unroll
        for (int j = 0; j < KEYS; j++)
#pragma unroll
          for (int i = 0; i < M; i++) s[j][i] = __fmaf_rn(four[d * M + i], k[j][e + d], s[j][i]);
    }
  }
}

// The s_j of this thread's keys become p_j in shared memory, where q lay; returns the maxima of the split in `top`.
template <int M, int KEYS>
__device__ __forceinline__ void exponentiate(float (&top)[M], StepShared& shared, float (&s)[KEYS][M], int seen,
                                             float scale) {
  const int t = (int)threadIdx.x, SCORERS = SPLIT / KEYS, first = first_key<KEYS>();
  if (t < SCORERS) {
#pragma unroll
    for (int i = 0; i < M; i++) {
      float own = __uint_as_float(0xff800000u);  // -infinity
#pragma unroll
      for (int j = 0; j < KEYS; j++) {
        s[j][i] = __fmul_rn(s[j][i], scale);
        if (first + 32 * j < seen) own = nan_max(own, s[j][i]);
      }
      own = warp_nan_max(own);
      if ((t & 31) == 0) shared.tops[(t >> 5) * M + i] = own;
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < M; i++) {
    top[i] = shared.tops[i];
#pragma unroll
    for (int w = 1; w < SCORERS / 32; w++) top[i] = nan_max(top[i], shared.tops[w * M + i]);
  }
  if (t >= SCORERS) return;
  float p[KEYS][M];  // all of them together, before any is put down
#pragma unroll
  for (int j = 0; j < KEYS; j++)
#pragma unroll
    for (int i = 0; i < M; i++) p[j][i] = exp32(__fsub_rn(s[j][i], top[i]));
#pragma unroll
  for (int j = 0; j < KEYS; j++)
#pragma unroll
    for (int i = 0; i < M; i++)
      if (first + 32 * j < seen) reinterpret_cast<float*>(shared.p)[(first + 32 * j) * M + i] = p[j][i];
}
