// The scores of one split for the queries of an item, and their exponentials.
#pragma once
#include "step_chunks.cuh"

// The first of the KEYS keys that a thread of a team scores, 32 apart; those of a warp are neighbours.
template <int KEYS> __device__ __forceinline__ int first_key() {
  const int t = (int)threadIdx.x % (SPLIT / KEYS);
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

// Adds the products of KEY_PIECES pieces to the s_j of QUERIES queries.
template <class Cell, int QUERIES, int KEYS>
__device__ __forceinline__ void score(float (&s)[KEYS][QUERIES], const float4* q, const KeyPlaces<KEYS>& keys) {
  const int cells = Packed<Cell>::PER_PIECE;
#pragma unroll
  for (int u = 0; u < KEY_PIECES; u++) {
    float k[KEYS][cells];
#pragma unroll
    for (int j = 0; j < KEYS; j++) unpack_piece<Cell>(k[j], keys.at[j][u ^ keys.swap[j]]);
#pragma unroll
    for (int e = 0; e < cells; e += 4) {
      float four[4 * QUERIES];  // of q, [d][QUERIES]
#pragma unroll
      for (int i = 0; i < QUERIES; i++) {
        const float4 part = q[(u * cells + e) * QUERIES / 4 + i];
        four[4 * i] = part.x, four[4 * i + 1] = part.y, four[4 * i + 2] = part.z, four[4 * i + 3] = part.w;
      }
#pragma unroll
      for (int d = 0; d < 4; d++)
#pragma unroll
        for (int j = 0; j < KEYS; j++)
#pragma unroll
          for (int i = 0; i < QUERIES; i++) s[j][i] = __fmaf_rn(four[d * QUERIES + i], k[j][e + d], s[j][i]);
    }
  }
}

// The maximum of query i of a team, behind a barrier.
template <int M> __device__ __forceinline__ float top_of(const StepShared& shared, int team, int i) {
  const int WARPS = Share<M>::SCORERS / 32, QUERIES = Share<M>::QUERIES;
  const float* tops = shared.tops + team * WARPS * QUERIES + i;
  float top = tops[0];
#pragma unroll
  for (int w = 1; w < WARPS; w++) top = nan_max(top, tops[w * QUERIES]);
  return top;
}

// The s_j of this thread's keys become p_j in shared memory.
template <int M>
__device__ __forceinline__ void exponentiate(StepShared& shared, float (&s)[Share<M>::KEYS][Share<M>::QUERIES], int seen,
                                             float scale) {
  const int KEYS = Share<M>::KEYS, QUERIES = Share<M>::QUERIES, SCORERS = Share<M>::SCORERS;
  const int t = (int)threadIdx.x, first = first_key<KEYS>(), team = t / SCORERS;
  if (team < Share<M>::TEAMS) {
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
      float own = __uint_as_float(0xff800000u);  // -infinity
#pragma unroll
      for (int j = 0; j < KEYS; j++) {
        s[j][i] = __fmul_rn(s[j][i], scale);
        if (first + 32 * j < seen) own = nan_max(own, s[j][i]);
      }
      own = warp_nan_max(own);
      if ((t & 31) == 0) shared.tops[(t >> 5) * QUERIES + i] = own;
    }
  }
  __syncthreads();
  if (team >= Share<M>::TEAMS) return;
  float p[KEYS][QUERIES];  // all of them together, before any is put down
#pragma unroll
  for (int i = 0; i < QUERIES; i++) {
    const float top = top_of<M>(shared, team, i);
#pragma unroll
    for (int j = 0; j < KEYS; j++) p[j][i] = exp32(__fsub_rn(s[j][i], top));
  }
  float* to = of_team<M>(reinterpret_cast<float*>(shared.p), team) + first * QUERIES;
#pragma unroll
  for (int j = 0; j < KEYS; j++)
#pragma unroll
    for (int i = 0; i < QUERIES; i++)
      if (first + 32 * j < seen) to[32 * j * QUERIES + i] = p[j][i];
}
