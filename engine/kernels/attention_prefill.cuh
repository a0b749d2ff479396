// Attention of many rows: one block per tile of queries, which takes the splits one after the other.
#pragma once
#include "attention.cuh"

static const int TILE = 32;            // queries of a block
static const int PREFILL_THREADS = 128, WARPS = PREFILL_THREADS / 32;
static const int STEP_DIMS = 16;       // values of every key in shared memory at a time, at most
static const int Q_STRIDE = TILE + 4;  // keeps four neighbouring values of different d in different banks
static const int MINE = 8;             // queries of a thread
static const int SLICE_CELLS = 2048;   // values in shared memory at a time

// Thread t: in score and fold it has the queries query() .. + 7; in score the keys key() .. + 3 and those + 32, in fold
// the values d() .. + 3 and those + 128. A warp covers all queries and 64 keys or 32 (and 32) values of d.
struct Place {
  int warp, lane;
  __device__ __forceinline__ int query() const { return (lane >> 3) * MINE; }
  __device__ __forceinline__ int key() const { return warp * 64 + (lane & 7) * 4; }
  __device__ __forceinline__ int d() const { return warp * 32 + (lane & 7) * 4; }
};

struct __align__(16) PrefillShared {  // read in pieces of 16 bytes
  float p[SPLIT * TILE];      // first the keys, twice [STEP_DIMS][SPLIT]; then [SPLIT][TILE]: the s_j, then the p_j
  float values[SLICE_CELLS];  // first the queries, twice [STEP_DIMS][Q_STRIDE]; then rows of values
  float tops[WARPS * TILE];
  float before[TILE], after[TILE];  // a and b of NUMERICS 10; at the end `before` is L
  int visible[TILE];
};

// The values of q and of this thread's keys (t and t + 128) for one step of DIMS, on their way to shared memory.
template <class Cell> struct Staged {
  static const int PIECES = 2, DIMS = PIECES * Packed<Cell>::PER_PIECE;  // 16 of float16, 8 of float32
  static const int KEYS = SPLIT / PREFILL_THREADS, QUERIES = TILE * 8 / PREFILL_THREADS;
  uint4 key[KEYS][PIECES];
  float2 q[QUERIES];

  // `words`: the first key, of which `seen` are visible, with `row_words` each; `query`: the heads of q that this
  // thread brings, or null.
  __device__ __forceinline__ void load(const unsigned* words, int row_words, int seen,
                                       const float* const (&query)[QUERIES], int d0, int head_dim) {
    const int t = (int)threadIdx.x, d = d0 + 2 * (t & 7);
#pragma unroll
    for (int i = 0; i < KEYS; i++) {
      const int j = t + PREFILL_THREADS * i;
#pragma unroll
      for (int u = 0; u < PIECES; u++)
        key[i][u] = load_piece(words + (long long)j * row_words, d0 / Packed<Cell>::PER_WORD + 4 * u,
                               j < seen ? row_words : 0, row_words % 4 == 0);
    }
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
      q[i] = make_float2(0.0f, 0.0f);
      if (query[i] != nullptr && d < min(head_dim, d0 + DIMS)) q[i] = *reinterpret_cast<const float2*>(query[i] + d);
    }
  }
  __device__ __forceinline__ void store(PrefillShared& shared, int buffer) const {
    const int t = (int)threadIdx.x, cells = Packed<Cell>::PER_PIECE;
#pragma unroll
    for (int i = 0; i < KEYS; i++) {
      float* to = shared.p + buffer * STEP_DIMS * SPLIT + t + PREFILL_THREADS * i;
#pragma unroll
      for (int u = 0; u < PIECES; u++) {
        float k[cells];
        unpack_piece<Cell>(k, key[i][u]);
#pragma unroll
        for (int e = 0; e < cells; e++) to[(u * cells + e) * SPLIT] = k[e];
      }
    }
    float* q_to = shared.values + (buffer * STEP_DIMS + 2 * (t & 7)) * Q_STRIDE + (t >> 3);
    if (2 * (t & 7) < DIMS) {
#pragma unroll
      for (int i = 0; i < QUERIES; i++) {
        q_to[i * (PREFILL_THREADS / 8)] = q[i].x;
        q_to[i * (PREFILL_THREADS / 8) + Q_STRIDE] = q[i].y;
      }
    }
  }
};

// `count` steps of the chains of eight queries and eight keys.
__device__ __forceinline__ void fold_scores(float (&s)[MINE][8], const float* q, const float* k, int count) {
#pragma unroll 1
  for (int d = 0; d < count; d++) {
    const float4 first = *reinterpret_cast<const float4*>(q + d * Q_STRIDE);
    const float4 second = *reinterpret_cast<const float4*>(q + d * Q_STRIDE + 4);
    const float4 low = *reinterpret_cast<const float4*>(k + d * SPLIT);
    const float4 high = *reinterpret_cast<const float4*>(k + d * SPLIT + 32);
    const float query[MINE] = {first.x, first.y, first.z, first.w, second.x, second.y, second.z, second.w};
    const float key[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int i = 0; i < MINE; i++)
#pragma unroll
      for (int j = 0; j < 8; j++) s[i][j] = __fmaf_rn(query[i], key[j], s[i][j]);
  }
}

// The s_j of a split, into shared.p. `seen`: keys that some query of the tile sees.
template <class Cell>
__device__ __forceinline__ void score_tile(PrefillShared& shared, const Cell* keys,
                                           const float* const (&query)[Staged<Cell>::QUERIES], const Step& step,
                                           int kv_head, int first, int seen, float scale) {
  const int t = (int)threadIdx.x, head_dim = step.head_dim, row_words = head_dim / Packed<Cell>::PER_WORD;
  const Place place = {t >> 5, t & 31};
  const unsigned* words = cache_words(keys, step, kv_head, first);
  const bool busy = place.warp * 64 < seen;
  float s[MINE][8];
#pragma unroll
  for (int i = 0; i < MINE; i++)
#pragma unroll
    for (int j = 0; j < 8; j++) s[i][j] = 0.0f;

  Staged<Cell> staged;
  staged.load(words, row_words, seen, query, 0, head_dim);
  staged.store(shared, 0);
  __syncthreads();
  for (int d0 = 0, buffer = 0; d0 < head_dim; d0 += staged.DIMS, buffer ^= 1) {
    const bool more = d0 + staged.DIMS < head_dim;
    if (more) staged.load(words, row_words, seen, query, d0 + staged.DIMS, head_dim);
    const float* q = shared.values + buffer * STEP_DIMS * Q_STRIDE + place.query();
    const float* k = shared.p + buffer * STEP_DIMS * SPLIT + place.key();
    if (busy) fold_scores(s, q, k, min(head_dim - d0, staged.DIMS));
    if (more) staged.store(shared, buffer ^ 1);
    __syncthreads();
  }
  if (busy) {
#pragma unroll
    for (int j = 0; j < 8; j++) {
      float* to = shared.p + (place.key() + (j & 3) + (j & 4) * 8) * TILE + place.query();
#pragma unroll
      for (int i = 0; i < MINE; i += 4)
        *reinterpret_cast<float4*>(to + i) = make_float4(__fmul_rn(s[i][j], scale), __fmul_rn(s[i + 1][j], scale),
                                                         __fmul_rn(s[i + 2][j], scale), __fmul_rn(s[i + 3][j], scale));
    }
  }
  __syncthreads();
}

// Turns the visible s_j of this lane's query into p_j; every warp takes every fourth key. Returns their maximum.
__device__ __forceinline__ float exponentiate_tile(PrefillShared& shared, int visible) {
  const int warp = (int)threadIdx.x >> 5, lane = (int)threadIdx.x & 31;
  float top = __uint_as_float(0xff800000u);  // -infinity
  for (int j = warp; j < visible; j += WARPS) top = nan_max(top, shared.p[j * TILE + lane]);
  shared.tops[warp * TILE + lane] = top;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < WARPS; w++) top = nan_max(top, shared.tops[w * TILE + lane]);
  for (int j = warp; j < visible; j += WARPS)
    shared.p[j * TILE + lane] = exp32(__fsub_rn(shared.p[j * TILE + lane], top));
  return top;
}

// Values of D * 128 columns, the last ones zero: KEYS rows in shared memory at a time. This thread brings four cells of
// four of them, or eight of two.
template <class Cell, int D> struct StagedValues {
  static const int KEYS = SLICE_CELLS / (128 * D), PIECES = SLICE_CELLS / 4 / PREFILL_THREADS;
  uint4 four[PIECES];

  // `words`: the values of the split, of which rows `base` .. below `end` are loaded.
  __device__ __forceinline__ void load(const unsigned* words, int row_words, int base, int end) {
#pragma unroll
    for (int u = 0; u < PIECES; u++) {
      const int row = base + row_of(u), at = column_of(u) / Packed<Cell>::PER_WORD;
      four[u] = load_four(words + row * row_words, at, row < end ? row_words : 0);
    }
  }
  __device__ __forceinline__ void store(float* to) const {
#pragma unroll
    for (int u = 0; u < PIECES; u++) {
      float cells[Packed<Cell>::PER_PIECE];
      unpack_piece<Cell>(cells, four[u]);
      *reinterpret_cast<float4*>(to + row_of(u) * 128 * D + column_of(u)) =
          make_float4(cells[0], cells[1], cells[2], cells[3]);
    }
  }
  static __device__ __forceinline__ int row_of(int u) { return ((int)threadIdx.x >> 5) + WARPS * (u / D); }
  static __device__ __forceinline__ int column_of(int u) { return 4 * ((int)threadIdx.x & 31) + 128 * (u % D); }
  static __device__ __forceinline__ uint4 load_four(const unsigned* row, int at, int row_words) {
    if (Packed<Cell>::PER_WORD == 1) return load_piece(row, at, row_words, row_words % 4 == 0);
    uint4 four = make_uint4(0u, 0u, 0u, 0u);
    if (row_words % 2 == 0) {
      if (at < row_words) {
        const uint2 two = *reinterpret_cast<const uint2*>(row + at);
        four.x = two.x, four.y = two.y;
      }
    } else {
      if (at < row_words) four.x = row[at];
      if (at + 1 < row_words) four.y = row[at + 1];
    }
    return four;
  }
};

// One step of the chains o of eight queries: p_j of each, and the values of this thread's d.
template <int D>
__device__ __forceinline__ void load_step(float (&p)[MINE], float (&v)[4 * D], const float* p_row, const float* v_row) {
#pragma unroll
  for (int i = 0; i < MINE; i += 4) {
    const float4 four = *reinterpret_cast<const float4*>(p_row + i);
    p[i] = four.x, p[i + 1] = four.y, p[i + 2] = four.z, p[i + 3] = four.w;
  }
#pragma unroll
  for (int c = 0; c < D; c++) {
    const float4 part = *reinterpret_cast<const float4*>(v_row + 128 * c);
    v[4 * c] = part.x, v[4 * c + 1] = part.y, v[4 * c + 2] = part.z, v[4 * c + 3] = part.w;
  }
}

// Folds `count` keys from `base` on, whose values lie at shared.values, into o. Keys below `all` are seen by all
// queries.
template <int D>
__device__ __forceinline__ void fold_slice(float (&o)[MINE][4 * D], const PrefillShared& shared, int base, int count,
                                           int all) {
  const Place place = {(int)threadIdx.x >> 5, (int)threadIdx.x & 31};
  const float* p_row = shared.p + base * TILE + place.query();
  const float* v_row = shared.values + place.d();
  float p[MINE], v[4 * D];
  if (base + count <= all) {
#pragma unroll 4
    for (int j = 0; j < count; j++) {
      load_step<D>(p, v, p_row + j * TILE, v_row + j * 128 * D);
#pragma unroll
      for (int i = 0; i < MINE; i++)
#pragma unroll
        for (int c = 0; c < 4 * D; c++) o[i][c] = __fmaf_rn(p[i], v[c], o[i][c]);
    }
    return;
  }
  for (int j = 0; j < count; j++) {
    load_step<D>(p, v, p_row + j * TILE, v_row + j * 128 * D);
#pragma unroll
    for (int i = 0; i < MINE; i++) {
      if (base + j >= shared.visible[place.query() + i]) continue;
#pragma unroll
      for (int c = 0; c < 4 * D; c++) o[i][c] = __fmaf_rn(p[i], v[c], o[i][c]);
    }
  }
}

// What a thread carries from split to split: O of eight queries and 4 * D values; M and L in the first warp, one query
// per lane.
template <int D> struct Running {
  float o[MINE][4 * D];
  float top, sum;
};

// The first warp adds up the p_j of its queries and combines with the splits before.
template <int D>
__device__ __forceinline__ void combine_sums(Running<D>& running, PrefillShared& shared, int split, int visible,
                                             float top) {
  const int lane = (int)threadIdx.x & 31;
  float sum = 0.0f;
#pragma unroll 4
  for (int j = 0; j < visible; j++) sum = __fadd_rn(sum, shared.p[j * TILE + lane]);
  if (split == 0) {
    running.top = top;
    running.sum = sum;
  } else if (visible > 0) {
    const float highest = nan_max(running.top, top);
    const float before = exp32(__fsub_rn(running.top, highest)), after = exp32(__fsub_rn(top, highest));
    running.sum = __fmaf_rn(sum, after, __fmul_rn(running.sum, before));
    running.top = highest;
    shared.before[lane] = before;
    shared.after[lane] = after;
  }
}

template <int D>
__device__ __forceinline__ void combine_values(Running<D>& running, const float (&o)[MINE][4 * D],
                                               const PrefillShared& shared, int split, int query) {
#pragma unroll
  for (int i = 0; i < MINE; i++) {
    if (shared.visible[query + i] == 0) continue;
    if (split == 0) {
#pragma unroll
      for (int c = 0; c < 4 * D; c++) running.o[i][c] = o[i][c];
      continue;
    }
    const float before = shared.before[query + i], after = shared.after[query + i];
#pragma unroll
    for (int c = 0; c < 4 * D; c++)
      running.o[i][c] = __fmaf_rn(o[i][c], after, __fmul_rn(running.o[i][c], before));
  }
}

// One split for a tile of queries that starts at n0.
template <class Cell, int D>
__device__ __forceinline__ void attend_tile_split(Running<D>& running, PrefillShared& shared,
                                                  const float* const (&query)[Staged<Cell>::QUERIES],
                                                  const Cell* keys, const Cell* values, int position, const Step& step,
                                                  float scale, int kv_head, int split, int n0) {
  const int t = (int)threadIdx.x, lane = t & 31, first = split * SPLIT;
  const int row_words = step.head_dim / Packed<Cell>::PER_WORD;
  const int visible = step.visible(n0 + lane, position, first);
  const int all = step.visible(n0, position, first);
  const int seen = step.visible(min(n0 + TILE, step.queries()) - 1, position, first);
  score_tile<Cell>(shared, keys, query, step, kv_head, first, seen, scale);

  const unsigned* words = cache_words(values, step, kv_head, first);
  StagedValues<Cell, D> staged;
  staged.load(words, row_words, 0, seen);
  if (t < TILE) shared.visible[t] = visible;
  const float top = exponentiate_tile(shared, visible);

  const Place place = {t >> 5, lane};
  float o[MINE][4 * D];
#pragma unroll
  for (int i = 0; i < MINE; i++)
#pragma unroll
    for (int c = 0; c < 4 * D; c++) o[i][c] = 0.0f;
  for (int base = 0; base < seen; base += staged.KEYS) {
    staged.store(shared.values);
    __syncthreads();  // the p_j and this slice are there
    staged.load(words, row_words, base + staged.KEYS, seen);
    if (base == 0 && t < TILE) combine_sums(running, shared, split, visible, top);
    if (place.d() < step.head_dim) fold_slice<D>(o, shared, base, min(staged.KEYS, seen - base), all);
    __syncthreads();  // the slice is used up; at the end `before` and `after` are there
  }
  combine_values<D>(running, o, shared, split, place.query());
  __syncthreads();  // shared memory is written again for the next split
}

// out_d = O_d / L
template <int D>
__device__ __forceinline__ void write_tile(float* out, const Running<D>& running, PrefillShared& shared,
                                           const Step& step, int kv_head, int n0) {
  const int t = (int)threadIdx.x;
  const Place place = {t >> 5, t & 31};
  if (t < TILE) shared.before[t] = running.sum;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < MINE; i++) {
    const int n = n0 + place.query() + i;
    if (n >= step.queries()) break;
    const float sum = shared.before[place.query() + i];
    float* head = out + step.head_of(n, kv_head) * step.head_dim;
#pragma unroll
    for (int c = 0; c < 4 * D; c++) {
      const int d = place.d() + (c & 3) + (c >> 2) * 128;
      if (d < step.head_dim) head[d] = __fdiv_rn(running.o[i][c], sum);
    }
  }
  __syncthreads();  // shared memory is written again for the next item
}

// All work items of attention_prefill, the longest first; D: how many times 128 values a head may have.
template <class Cell, int D>
__device__ __forceinline__ void attend_tiles(PrefillShared& shared, float* out, const float* q, const Cell* keys,
                                             const Cell* values, const int* position, const Step& step, float scale) {
  pdl_launch_dependents();
  pdl_wait();
  const int start = position[0], tiles = (step.queries() + TILE - 1) / TILE;
  const int items = step.kv_heads * tiles;
  for (int item = (int)blockIdx.x; item < items; item += (int)gridDim.x) {
    const int kv_head = item % step.kv_heads, n0 = (tiles - 1 - item / step.kv_heads) * TILE;
    const int n_last = min(n0 + TILE, step.queries()) - 1, row_last = n_last / step.group();
    const float* query[Staged<Cell>::QUERIES];  // that this thread brings
#pragma unroll
    for (int i = 0; i < Staged<Cell>::QUERIES; i++) {
      const int n = n0 + ((int)threadIdx.x >> 3) + i * (PREFILL_THREADS / 8);
      query[i] = n <= n_last ? q + step.head_of(n, kv_head) * step.head_dim : nullptr;
    }
    Running<D> running;
    running.top = running.sum = 0.0f;
#pragma unroll
    for (int i = 0; i < MINE; i++)
#pragma unroll
      for (int c = 0; c < 4 * D; c++) running.o[i][c] = 0.0f;
    for (int split = 0; split * SPLIT < min(start + row_last + 1, step.context); split++)
      attend_tile_split<Cell, D>(running, shared, query, keys, values, start, step, scale, kv_head, split, n0);
    write_tile<D>(out, running, shared, step, kv_head, n0);
  }
}
