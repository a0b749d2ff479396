// The scores of a tile of queries over one split of keys, for attention_prefill.
#pragma once
#include "attention_prefill_tile.cuh"

// The values of the tile's queries and of this thread's keys (t and t + 128) for one step of DIMS, on their way to
// shared memory. Zero past the head and past the last query and key: a padded step reaches no bit of a p_j.
template <class Cell> struct StagedKeys {
  static const int PIECES = 2, DIMS = PIECES * Packed<Cell>::PER_PIECE;  // 16 of float16, 8 of float32
  static const int COUNT = SPLIT / PREFILL_THREADS, ROWS = PREFILL_THREADS / 8;  // eight threads bring a query
  uint4 key[COUNT][PIECES];
  float2 query[TILE / ROWS];

  // `words`: the first key, of which `seen` are visible.
  __device__ __forceinline__ void load(const PrefillShared& shared, const unsigned* words, int seen, const float* q,
                                       int d0, int head_dim) {
    const int t = (int)threadIdx.x, d = d0 + 2 * (t & 7), row_words = head_dim / Packed<Cell>::PER_WORD;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      const int j = t + PREFILL_THREADS * i;
#pragma unroll
      for (int u = 0; u < PIECES; u++)
        key[i][u] = load_piece(words + (long long)j * row_words, d0 / Packed<Cell>::PER_WORD + 4 * u,
                               j < seen ? row_words : 0, row_words % 4 == 0);
    }
#pragma unroll
    for (int i = 0; i < TILE / ROWS; i++) {
      const int head = shared.head[(t >> 3) + i * ROWS];
      query[i] = make_float2(0.0f, 0.0f);
      if (head >= 0 && d < min(head_dim, d0 + DIMS))
        query[i] = *reinterpret_cast<const float2*>(q + (long long)head * head_dim + d);
    }
  }
  __device__ __forceinline__ void store(PrefillShared& shared, int buffer) const {
    const int t = (int)threadIdx.x, cells = Packed<Cell>::PER_PIECE;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      float* to = shared.keys[buffer] + t + PREFILL_THREADS * i;
#pragma unroll
      for (int u = 0; u < PIECES; u++) {
        float k[cells];
        unpack_piece<Cell>(k, key[i][u]);
#pragma unroll
        for (int e = 0; e < cells; e++) to[(u * cells + e) * SPLIT] = k[e];
      }
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

// One step of DIMS of the chains of this thread's queries and keys.
template <int DIMS>
__device__ __forceinline__ void fold_scores(float (&s)[QUERIES][KEYS], const PrefillShared& shared, int buffer,
                                            const Place& place) {
  const float *queries = shared.queries[buffer], *keys = shared.keys[buffer] + place.key(0);
#pragma unroll 4
  for (int d = 0; d < DIMS; d++, queries += TILE_STRIDE, keys += SPLIT) {
    float q[QUERIES], k[KEYS];
    load_queries(q, queries, place);
#pragma unroll
    for (int j = 0; j < KEYS; j += 4) load_four(k + j, keys + j * 4);
#pragma unroll
    for (int j = 0; j < KEYS; j++)
#pragma unroll
      for (int i = 0; i < QUERIES; i++) s[i][j] = __fmaf_rn(q[i], k[j], s[i][j]);
  }
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
