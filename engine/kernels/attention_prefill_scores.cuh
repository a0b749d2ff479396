// The scores of a tile of queries over one split of keys, for attention_prefill.
#pragma once
#include "attention_prefill_tile.cuh"

// The values of the tile's queries and of this warp's keys for one step of DIMS, on their way to shared memory. Zero past
// the head and past the last query and key: a padded step reaches no bit of a p_j.
template <class Cell> struct StagedKeys {
  static const int CELLS = Packed<Cell>::PER_PIECE, DIMS = 2 * CELLS;  // two pieces: 16 of float16, 8 of float32
  static const int COUNT = SPLIT / WARPS / 16, ROWS = PREFILL_THREADS / 8;  // two threads bring a key, eight a query
  uint4 key[COUNT];
  float2 query[TILE / ROWS];

  static __device__ __forceinline__ int number(int i) { return ((int)threadIdx.x >> 5) * (SPLIT / WARPS) + 16 * i + ((int)threadIdx.x >> 1 & 15); }

  // `words`: the first key, of which `seen` are visible.
  __device__ __forceinline__ void load(const PrefillShared& shared, const unsigned* words, int seen, const float* q,
                                       int d0, int head_dim) {
    const int t = (int)threadIdx.x, d = d0 + 2 * (t & 7), row_words = head_dim / Packed<Cell>::PER_WORD;
    const int at = d0 / Packed<Cell>::PER_WORD + 4 * (t & 1);
#pragma unroll
    for (int i = 0; i < COUNT; i++)
      key[i] = load_piece(words + (long long)number(i) * row_words, at, number(i) < seen ? row_words : 0,
                          row_words % 4 == 0);
#pragma unroll
    for (int i = 0; i < TILE / ROWS; i++) {
      const int head = shared.head[(t >> 3) + i * ROWS];
      query[i] = make_float2(0.0f, 0.0f);
      if (head >= 0 && d < min(head_dim, d0 + DIMS))
        query[i] = *reinterpret_cast<const float2*>(q + (long long)head * head_dim + d);
    }
  }
  __device__ __forceinline__ void store(PrefillShared& shared, int buffer) const {
    const int t = (int)threadIdx.x;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      float k[CELLS];
      unpack_piece<Cell>(k, key[i]);
#pragma unroll
      for (int e = 0; e < CELLS; e++) shared.keys[buffer][((t & 1) * CELLS + e) * SPLIT + number(i)] = k[e];
    }
    float* to = shared.queries[buffer] + 2 * (t & 7) * TILE_STRIDE + (t >> 3);
    if (2 * (t & 7) < DIMS) {
#pragma unroll
      for (int i = 0; i < TILE / ROWS; i++) {
        to[i * ROWS] = query[i].x;
        to[i * ROWS + TILE_STRIDE] = query[i].y;
      }
    }
  }
};

// What one step of the chains of this thread's scores takes.
struct ScoreStep {
  float q[QUERIES], k[KEYS];

  __device__ __forceinline__ void load(const float* queries, const float* keys, const Place& place) {
    load_queries(q, queries, place);
#pragma unroll
    for (int j = 0; j < KEYS; j += 4) load_four(k + j, keys + j * 4);
  }
  __device__ __forceinline__ void fold(float (&s)[QUERIES][KEYS]) const {
#pragma unroll
    for (int j = 0; j < KEYS; j++)
#pragma unroll
      for (int i = 0; i < QUERIES; i++) s[i][j] = __fmaf_rn(q[i], k[j], s[i][j]);
  }
};

// DIMS steps of the chains of this thread's queries and keys, each loaded while the one before is folded.
template <int DIMS>
__device__ __forceinline__ void fold_scores(float (&s)[QUERIES][KEYS], const PrefillShared& shared, int buffer,
                                            const Place& place) {
  const float *queries = shared.queries[buffer], *keys = shared.keys[buffer] + place.key(0);
  ScoreStep now, next;
  now.load(queries, keys, place);
#pragma unroll 1
  for (int d = 0; d < DIMS - 2; d += 2, queries += 2 * TILE_STRIDE, keys += 2 * SPLIT) {
    next.load(queries + TILE_STRIDE, keys + SPLIT, place);
    now.fold(s);
    now.load(queries + 2 * TILE_STRIDE, keys + 2 * SPLIT, place);
    next.fold(s);
  }
  next.load(queries + TILE_STRIDE, keys + SPLIT, place);
  now.fold(s);
  next.fold(s);
}

// The s_j of this thread's queries and keys of the split whose keys start at `words`. `seen`: keys that some query of
// the tile sees. At the end other warps may still be reading shared memory.
template <class Cell>
__device__ __forceinline__ void score_tile(float (&s)[QUERIES][KEYS], PrefillShared& shared, const unsigned* words,
                                           int seen, const float* q, int head_dim, float scale) {
  const Place place = place_of_thread();
  const bool busy = place.warp * (SPLIT / WARPS) < seen;
#pragma unroll
  for (int i = 0; i < QUERIES; i++)
#pragma unroll
    for (int j = 0; j < KEYS; j++) s[i][j] = 0.0f;

  StagedKeys<Cell> staged;
  staged.load(shared, words, seen, q, 0, head_dim);
  staged.store(shared, 0);
  __syncthreads();
  for (int d0 = 0, buffer = 0; d0 < head_dim; d0 += staged.DIMS, buffer ^= 1) {
    const bool more = d0 + staged.DIMS < head_dim;
    if (more) staged.load(shared, words, seen, q, d0 + staged.DIMS, head_dim);
    if (busy) fold_scores<StagedKeys<Cell>::DIMS>(s, shared, buffer, place);
    if (more) {
      staged.store(shared, buffer ^ 1);
      __syncthreads();
    }
  }
#pragma unroll
  for (int i = 0; i < QUERIES; i++)
#pragma unroll
    for (int j = 0; j < KEYS; j++) s[i][j] = __fmul_rn(s[i][j], scale);
}
