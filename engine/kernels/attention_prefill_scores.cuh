// The scores of a tile of queries over one split of keys, for attention_prefill.
#pragma once
#include "attention_prefill_tile.cuh"

// Thread t's values of key t of half of a split for one step, on their way to shared memory. Zero past the head and
// past the last key: a padded step reaches no bit of a p_j.
template <class Cell> struct StagedKeys {
  static const int CELLS = Packed<Cell>::PER_PIECE, PIECES = STEP_DIMS / CELLS;
  const unsigned* from;  // the next step
  int left;              // words of the head from there, none past the last key
  uint4 piece[PIECES];
  static_assert(HALF == PREFILL_THREADS, "a thread brings one key");

  // `words`: the first key, of which `seen` are visible.
  __device__ __forceinline__ void start(const unsigned* words, int row_words, int seen) {
    from = words + (int)threadIdx.x * row_words;
    left = (int)threadIdx.x < seen ? row_words : 0;
  }
  __device__ __forceinline__ void load(int row_words) {
#pragma unroll
    for (int u = 0; u < PIECES; u++) piece[u] = load_piece(from, 4 * u, left, row_words % 4 == 0);
    from += 4 * PIECES;
    left -= 4 * PIECES;
  }
  __device__ __forceinline__ void store(float* to) const {
#pragma unroll
    for (int u = 0; u < PIECES; u++) {
      float k[CELLS];
      unpack_piece<Cell>(k, piece[u]);
#pragma unroll
      for (int e = 0; e < CELLS; e++) to[(u * CELLS + e) * HALF + (int)threadIdx.x] = k[e];
    }
  }
};

// Values d0 .. d0 + PART - 1 of the tile's queries into shared.queries; zero past the head and past the last query. A
// thread turns four values of four queries at a time. WHOLE: every value lies on 16 bytes with its neighbours.
template <bool WHOLE>
__device__ __forceinline__ void bring_queries(PrefillShared& shared, const float* q, int d0, int head_dim) {
  const int fours = TILE / 4, column = (int)threadIdx.x % fours * 4, own = (int)threadIdx.x / fours * 4;
  const unsigned* row[4];
  int end[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int head = shared.head[column + i];
    row[i] = reinterpret_cast<const unsigned*>(q + (long long)max(head, 0) * head_dim) + d0 + own;
    end[i] = head < 0 ? 0 : head_dim - d0 - own;
  }
#pragma unroll
  for (int d = 0; d < PART; d += PREFILL_THREADS / fours * 4) {
    uint4 x[4];
#pragma unroll
    for (int i = 0; i < 4; i++) x[i] = load_piece(row[i], d, end[i], WHOLE);
    uint4* to = reinterpret_cast<uint4*>(shared.queries + (own + d) * TILE + column);
    to[0] = make_uint4(x[0].x, x[1].x, x[2].x, x[3].x);
    to[fours] = make_uint4(x[0].y, x[1].y, x[2].y, x[3].y);
    to[2 * fours] = make_uint4(x[0].z, x[1].z, x[2].z, x[3].z);
    to[3 * fours] = make_uint4(x[0].w, x[1].w, x[2].w, x[3].w);
  }
}

// A step of the chains of this thread's queries and keys.
__device__ __forceinline__ void fold_scores(float (&s)[QUERIES][KEYS], const float* queries, const float* keys) {
#pragma unroll
  for (int d = 0; d < STEP_DIMS; d++) {
    float q[QUERIES], k[KEYS];
    load_queries(q, queries + d * TILE);
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
      for (int j = 0; j < KEYS; j++) top[i] = raised(top[i], s[i][j]);
  } else {
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
      const int visible = shared.visible[place.query(i)];
#pragma unroll
      for (int j = 0; j < KEYS; j++)
        if (first + place.key(j) < visible) top[i] = raised(top[i], s[i][j]);
    }
  }
}

// The s_j of the split whose keys start at `words` into shared.p, and the maxima of this thread's into top. `seen`:
// keys that some query of the tile sees. D: how many times PART values a head may have.
template <class Cell, int D>
__device__ __forceinline__ void score_tile(PrefillShared& shared, float (&top)[QUERIES], const unsigned* words, int all,
                                           int seen, const float* q, int head_dim, float scale) {
  const Place place = place_of_thread();
  const int row_words = head_dim / Packed<Cell>::PER_WORD;
#pragma unroll
  for (int i = 0; i < QUERIES; i++) top[i] = __uint_as_float(0xff800000u);  // -infinity
#pragma unroll 1
  for (int first = 0; first < seen; first += HALF, words += HALF * row_words) {
    const bool busy = first + place.warp * (HALF / WARPS) < seen;
    float s[QUERIES][KEYS];
#pragma unroll
    for (int i = 0; i < QUERIES; i++)
#pragma unroll
      for (int j = 0; j < KEYS; j++) s[i][j] = 0.0f;
    StagedKeys<Cell> staged;
    staged.start(words, row_words, seen - first);
#pragma unroll 1
    for (int part = 0; part < D * PART; part += PART) {
      const int dims = min(head_dim - part, PART);
      staged.load(row_words);
      if (D > 1 || first == 0) {
        if (head_dim % 4 == 0)
          bring_queries<true>(shared, q, part, head_dim);
        else
          bring_queries<false>(shared, q, part, head_dim);
      }
      staged.store(shared.keys[0]);
      __syncthreads();
      for (int d = 0, buffer = 0; d < dims; d += STEP_DIMS, buffer ^= 1) {
        const bool more = d + STEP_DIMS < dims;
        if (more) staged.load(row_words);
        if (busy) fold_scores(s, shared.queries + d * TILE + place.row(), shared.keys[buffer] + place.key(0));
        if (more) staged.store(shared.keys[buffer ^ 1]);
        __syncthreads();  // the next step is there; at the end all may be written over
      }
    }
    keep_scores(shared, top, s, first, all, scale);
  }
}
