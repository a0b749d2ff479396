// The scores of a tile of queries over one split of keys, for attention_prefill.
#pragma once
#include "attention_prefill_tile.cuh"

// The values of the tile's queries and of half of a split's keys for one step of DIMS, on their way to shared memory.
// Zero past the head and past the last query and key: a padded step reaches no bit of a p_j.
template <class Cell> struct StagedKeys {
  static const int CELLS = Packed<Cell>::PER_PIECE, DIMS = 2 * CELLS;  // two pieces: 16 of float16, 8 of float32
  static const int KEY_ROWS = PREFILL_THREADS / 2, QUERY_ROWS = PREFILL_THREADS / 8;  // brought at once
  uint4 key[HALF / KEY_ROWS];
  float2 query[TILE / QUERY_ROWS];

  // `words`: the first key, of which `seen` are visible.
  __device__ __forceinline__ void load(const PrefillShared& shared, const unsigned* words, int seen, const float* q,
                                       int d0, int head_dim) {
    const int t = (int)threadIdx.x, d = d0 + 2 * (t & 7), row_words = head_dim / Packed<Cell>::PER_WORD;
    const int at = d0 / Packed<Cell>::PER_WORD + 4 * (t & 1);
#pragma unroll
    for (int i = 0; i < HALF / KEY_ROWS; i++) {
      const int j = (t >> 1) + i * KEY_ROWS;
      key[i] = load_piece(words + (long long)j * row_words, at, j < seen ? row_words : 0, row_words % 4 == 0);
    }
#pragma unroll
    for (int i = 0; i < TILE / QUERY_ROWS; i++) {
      const int head = shared.head[(t >> 3) + i * QUERY_ROWS];
      query[i] = make_float2(0.0f, 0.0f);
      if (head >= 0 && d < min(head_dim, d0 + DIMS))
        query[i] = *reinterpret_cast<const float2*>(q + (long long)head * head_dim + d);
    }
  }
  __device__ __forceinline__ void store(PrefillShared& shared, int buffer) const {
    const int t = (int)threadIdx.x;
#pragma unroll
    for (int i = 0; i < HALF / KEY_ROWS; i++) {
      float k[CELLS];
      unpack_piece<Cell>(k, key[i]);
#pragma unroll
      for (int e = 0; e < CELLS; e++)
        shared.keys[buffer][((t & 1) * CELLS + e) * HALF + (t >> 1) + i * KEY_ROWS] = k[e];
    }
    float* to = shared.queries[buffer] + 2 * (t & 7) * Q_STRIDE + (t >> 3);
    if (2 * (t & 7) < DIMS) {
#pragma unroll
      for (int i = 0; i < TILE / QUERY_ROWS; i++) {
        to[i * QUERY_ROWS] = query[i].x;
        to[i * QUERY_ROWS + Q_STRIDE] = query[i].y;
      }
    }
  }
};

// DIMS steps of the chains of this thread's queries and keys.
template <int DIMS>
__device__ __forceinline__ void fold_scores(float (&s)[QUERIES][KEYS], const float* queries, const float* keys) {
#pragma unroll 4
  for (int d = 0; d < DIMS; d++) {
    float q[QUERIES], k[KEYS];
    load_queries(q, queries + d * Q_STRIDE);
    load_four(k, keys + d * HALF);
    load_four(k + 4, keys + d * HALF + 16);
#pragma unroll
    for (int j = 0; j < KEYS; j++)
#pragma unroll
      for (int i = 0; i < QUERIES; i++) s[i][j] = __fmaf_rn(q[i], k[j], s[i][j]);
  }
}

// Puts the scaled scores of the half that starts at key `first` of the split where p_j will lie, and their maxima over
// what is seen into top. Keys below `all` are seen by all queries.
__device__ __forceinline__ void keep_scores(PrefillShared& shared, float (&top)[QUERIES], float (&s)[QUERIES][KEYS],
                                            int first, int all, float scale) {
  const Place place = place_of_thread();
#pragma unroll
  for (int j = 0; j < KEYS; j++) {
    const int key = first + place.key(j);
    float column[QUERIES];
#pragma unroll
    for (int i = 0; i < QUERIES; i++) column[i] = s[i][j] = __fmul_rn(s[i][j], scale);
    store_queries(shared.p + shared.at(key, place.row()), column);
  }
  if (first + place.key(KEYS - 1) < all) {
#pragma unroll
    for (int i = 0; i < QUERIES; i++)
#pragma unroll
      for (int j = 0; j < KEYS; j++) top[i] = nan_max(top[i], s[i][j]);
  } else {
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
      const int visible = shared.visible[place.query(i)];
#pragma unroll
      for (int j = 0; j < KEYS; j++)
        if (first + place.key(j) < visible) top[i] = nan_max(top[i], s[i][j]);
    }
  }
}

// The s_j of the split whose keys start at `words` into shared.p, and the maxima of this thread's into top. `seen`:
// keys that some query of the tile sees.
template <class Cell>
__device__ __forceinline__ void score_tile(PrefillShared& shared, float (&top)[QUERIES], const unsigned* words, int all,
                                           int seen, const float* q, int head_dim, float scale) {
  const int DIMS = StagedKeys<Cell>::DIMS;
  const Place place = place_of_thread();
#pragma unroll
  for (int i = 0; i < QUERIES; i++) top[i] = __uint_as_float(0xff800000u);  // -infinity
#pragma unroll 1
  for (int first = 0; first < seen; first += HALF, words += HALF * (head_dim / Packed<Cell>::PER_WORD)) {
    const bool busy = first + place.warp * (HALF / WARPS) < seen;
    float s[QUERIES][KEYS];
#pragma unroll
    for (int i = 0; i < QUERIES; i++)
#pragma unroll
      for (int j = 0; j < KEYS; j++) s[i][j] = 0.0f;
    StagedKeys<Cell> staged;
    staged.load(shared, words, seen - first, q, 0, head_dim);
    staged.store(shared, 0);
    __syncthreads();
    for (int d0 = 0, buffer = 0; d0 < head_dim; d0 += DIMS, buffer ^= 1) {
      const bool more = d0 + DIMS < head_dim;
      if (more) staged.load(shared, words, seen - first, q, d0 + DIMS, head_dim);
      if (busy) fold_scores<DIMS>(s, shared.queries[buffer] + place.row(), shared.keys[buffer] + place.key(0));
      if (more) staged.store(shared, buffer ^ 1);
      __syncthreads();  // the next step is there; at the end the second half may be written over
    }
    keep_scores(shared, top, s, first, all, scale);
  }
}
