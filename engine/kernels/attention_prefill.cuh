// Attention of many rows: one block per tile of queries, which takes the splits one after the other.
#pragma once
#include "attention.cuh"

static const int TILE = 32;             // queries of a block
static const int PREFILL_THREADS = 256;
static const int STEP_DIMS = 16;        // values of every key in shared memory at a time
static const int Q_STRIDE = TILE + 4;   // keeps four neighbouring values of different d in different banks
static const int SLICE_CELLS = 2048;    // values in shared memory at a time

// Thread t: in score and fold it has the queries query() .. + 3; in score the keys key() .. + 3 and those + 32, in fold
// the values d() .. + 3 and those + 128. A warp covers 16 queries and 64 keys or 32 (and 32) values of d.
struct Place {
  int warp, lane;
  __device__ __forceinline__ int query() const { return (warp & 1) * 16 + (lane >> 3) * 4; }
  __device__ __forceinline__ int key() const { return (warp >> 1) * 64 + (lane & 7) * 4; }
  __device__ __forceinline__ int d() const { return (warp >> 1) * 32 + (lane & 7) * 4; }
};

struct PrefillShared {
  float p[SPLIT * TILE];      // first the keys, twice [STEP_DIMS][SPLIT]; then [SPLIT][TILE]: the s_j, then the p_j
  float values[SLICE_CELLS];  // first the queries, twice [STEP_DIMS][Q_STRIDE]; then rows of values
  float tops[8 * TILE];
  float before[TILE], after[TILE];  // a and b of NUMERICS 10; at the end `before` is L
  int visible[TILE];
};

// The values of q and of this thread's key for one step of STEP_DIMS, on their way from global to shared memory.
template <class Cell> struct Staged {
  static const int PIECES = STEP_DIMS / Packed<Cell>::PER_PIECE;
  uint4 key[PIECES];
  float q[2];

  __device__ __forceinline__ void load(const unsigned* words, int row_words, bool visible, const float* const (&queries)[2],
                                       int d0, int head_dim) {
    const int d = d0 + ((int)threadIdx.x & 15);
#pragma unroll
    for (int u = 0; u < PIECES; u++)
      key[u] = load_piece(words, d0 / Packed<Cell>::PER_WORD + 4 * u, visible ? row_words : 0, row_words % 4 == 0);
#pragma unroll
    for (int u = 0; u < 2; u++) q[u] = queries[u] != nullptr && d < head_dim ? queries[u][d] : 0.0f;
  }
  __device__ __forceinline__ void store(PrefillShared& shared, int buffer) const {
    const int t = (int)threadIdx.x, cells = Packed<Cell>::PER_PIECE;
    float* to = shared.p + buffer * STEP_DIMS * SPLIT + t;
#pragma unroll
    for (int u = 0; u < PIECES; u++) {
      float k[cells];
      unpack_piece<Cell>(k, key[u]);
#pragma unroll
      for (int e = 0; e < cells; e++) to[(u * cells + e) * SPLIT] = k[e];
    }
    float* q_to = shared.values + (buffer * STEP_DIMS + (t & 15)) * Q_STRIDE + (t >> 4);
    q_to[0] = q[0];
    q_to[16] = q[1];
  }
};

// Eight steps of the chains of four queries and eight keys.
__device__ __forceinline__ void fold_scores(float (&s)[4][8], const float* q, const float* k) {
#pragma unroll
  for (int d = 0; d < 8; d++) {
    const float4 qd = *reinterpret_cast<const float4*>(q + d * Q_STRIDE);
    const float4 low = *reinterpret_cast<const float4*>(k + d * SPLIT);
    const float4 high = *reinterpret_cast<const float4*>(k + d * SPLIT + 32);
    const float query[4] = {qd.x, qd.y, qd.z, qd.w};
    const float key[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int j = 0; j < 8; j++) s[i][j] = __fmaf_rn(query[i], key[j], s[i][j]);
  }
}

// The s_j of a split, into shared.p. `seen`: keys that some query of the tile sees.
template <class Cell>
__device__ __forceinline__ void score_tile(PrefillShared& shared, const Cell* keys, const float* const (&queries)[2],
                                           const Step& step, int kv_head, int first, int seen, float scale) {
  const int t = (int)threadIdx.x, head_dim = step.head_dim, row_words = head_dim / Packed<Cell>::PER_WORD;
  const Place place = {t >> 5, t & 31};
  const unsigned* words = cache_words(keys, step, kv_head, first) + (long long)t * row_words;
  const bool busy = (place.warp >> 1) * 64 < seen;
  float s[4][8];
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < 8; j++) s[i][j] = 0.0f;

  Staged<Cell> staged;
  staged.load(words, row_words, t < seen, queries, 0, head_dim);
  staged.store(shared, 0);
  __syncthreads();
  for (int d0 = 0, buffer = 0; d0 < head_dim; d0 += STEP_DIMS, buffer ^= 1) {
    const bool more = d0 + STEP_DIMS < head_dim;
    if (more) staged.load(words, row_words, t < seen, queries, d0 + STEP_DIMS, head_dim);
    const float* q = shared.values + buffer * STEP_DIMS * Q_STRIDE + place.query();
    const float* k = shared.p + buffer * STEP_DIMS * SPLIT + place.key();
    if (busy) {
      fold_scores(s, q, k);
      if (d0 + 8 < head_dim) fold_scores(s, q + 8 * Q_STRIDE, k + 8 * SPLIT);
    }
    if (more) staged.store(shared, buffer ^ 1);
    __syncthreads();
  }
  if (busy) {
#pragma unroll
    for (int j = 0; j < 8; j++) {
      float* to = shared.p + (place.key() + (j & 3) + (j & 4) * 8) * TILE + place.query();
      *reinterpret_cast<float4*>(to) = make_float4(__fmul_rn(s[0][j], scale), __fmul_rn(s[1][j], scale),
                                                   __fmul_rn(s[2][j], scale), __fmul_rn(s[3][j], scale));
    }
  }
  __syncthreads();
}

// Turns the visible s_j of this lane's query into p_j; every warp takes every eighth key. Returns their maximum.
__device__ __forceinline__ float exponentiate_tile(PrefillShared& shared, int visible) {
  const int warp = (int)threadIdx.x >> 5, lane = (int)threadIdx.x & 31;
  float top = __uint_as_float(0xff800000u);  // -infinity
  for (int j = warp; j < visible; j += 8) top = nan_max(top, shared.p[j * TILE + lane]);
  shared.tops[warp * TILE + lane] = top;
  __syncthreads();
#pragma unroll
  for (int w = 0; w < 8; w++) top = nan_max(top, shared.tops[w * TILE + lane]);
  for (int j = warp; j < visible; j += 8) shared.p[j * TILE + lane] = exp32(__fsub_rn(shared.p[j * TILE + lane], top));
  return top;
}

// Four cells of a row of values, twice: what this thread brings of a slice.
template <class Cell> struct StagedValues {
  uint4 four[2];

  // `row`: of the split, at most `end`; `width`: head_dim rounded up to fours.
  __device__ __forceinline__ void load(const unsigned* words, int row_words, int base, int keys, int end, int width) {
#pragma unroll
    for (int u = 0; u < 2; u++) {
      const int n = (int)threadIdx.x + u * PREFILL_THREADS, row = n / (width / 4), column = n % (width / 4);
      const int at = column * 4 / Packed<Cell>::PER_WORD;
      four[u] = make_uint4(0u, 0u, 0u, 0u);
      if (row < keys && base + row < end) four[u] = load_four(words + (long long)(base + row) * row_words, at, row_words);
    }
  }
  __device__ __forceinline__ void store(float* to, int keys, int width) const {
#pragma unroll
    for (int u = 0; u < 2; u++) {
      const int n = (int)threadIdx.x + u * PREFILL_THREADS;
      float cells[Packed<Cell>::PER_PIECE];
      unpack_piece<Cell>(cells, four[u]);
      if (n < keys * (width / 4)) *reinterpret_cast<float4*>(to + 4 * n) = make_float4(cells[0], cells[1], cells[2], cells[3]);
    }
  }
  static __device__ __forceinline__ uint4 load_four(const unsigned* row, int at, int row_words);
};
template <> __device__ __forceinline__ uint4 StagedValues<float>::load_four(const unsigned* row, int at, int row_words) {
  return load_piece(row, at, row_words, row_words % 4 == 0);
}
template <>
__device__ __forceinline__ uint4 StagedValues<unsigned short>::load_four(const unsigned* row, int at, int row_words) {
  uint4 four = make_uint4(0u, 0u, 0u, 0u);
  if (row_words % 2 == 0) {
    const uint2 two = *reinterpret_cast<const uint2*>(row + at);
    four.x = two.x, four.y = two.y;
  } else {
    four.x = row[at];
    if (at + 1 < row_words) four.y = row[at + 1];
  }
  return four;
}

// Folds `count` keys from `base` on, whose values lie at shared.values, into o. Keys below `all` are seen by every query.
template <int D>
__device__ __forceinline__ void fold_slice(float (&o)[4][4 * D], const PrefillShared& shared, int base, int count,
                                           int all, int width) {
  const Place place = {(int)threadIdx.x >> 5, (int)threadIdx.x & 31};
  if (place.d() >= width) return;
  int visible[4];
#pragma unroll
  for (int i = 0; i < 4; i++) visible[i] = shared.visible[place.query() + i];
  const bool whole = base + count <= all;
#pragma unroll 2
  for (int j = 0; j < count; j++) {
    const float4 four = *reinterpret_cast<const float4*>(shared.p + (base + j) * TILE + place.query());
    const float p[4] = {four.x, four.y, four.z, four.w};
    float v[4 * D];
#pragma unroll
    for (int c = 0; c < D; c++) {
      float4 part = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      if (place.d() + 128 * c < width)
        part = *reinterpret_cast<const float4*>(shared.values + j * width + place.d() + 128 * c);
      v[4 * c] = part.x, v[4 * c + 1] = part.y, v[4 * c + 2] = part.z, v[4 * c + 3] = part.w;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
      if (whole || base + j < visible[i]) {
#pragma unroll
        for (int c = 0; c < 4 * D; c++) o[i][c] = __fmaf_rn(p[i], v[c], o[i][c]);
      }
    }
  }
}

// What a thread carries from split to split: O of four queries and 4 * D values; M and L in the first warp, one query
// per lane.
template <int D> struct Running {
  float o[4][4 * D];
  float top, sum;
};

// The first warp adds up the p_j of its queries and combines with the splits before.
template <int D>
__device__ __forceinline__ void combine_sums(Running<D>& running, PrefillShared& shared, int split, int visible, float top) {
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
__device__ __forceinline__ void combine_values(Running<D>& running, const float (&o)[4][4 * D], const PrefillShared& shared,
                                               int split, int query) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    if (shared.visible[query + i] == 0) continue;
    const float before = split ? shared.before[query + i] : 0.0f, after = split ? shared.after[query + i] : 0.0f;
#pragma unroll
    for (int c = 0; c < 4 * D; c++)
      running.o[i][c] = split ? __fmaf_rn(o[i][c], after, __fmul_rn(running.o[i][c], before)) : o[i][c];
  }
}

// One split for a tile of queries that starts at n0.
template <class Cell, int D>
__device__ __forceinline__ void attend_tile_split(Running<D>& running, PrefillShared& shared, const float* const (&queries)[2],
                                                  const Cell* keys, const Cell* values, int position, const Step& step,
                                                  float scale, int kv_head, int split, int n0) {
  const int t = (int)threadIdx.x, lane = t & 31, first = split * SPLIT;
  const int row_words = step.head_dim / Packed<Cell>::PER_WORD, width = (step.head_dim + 3) / 4 * 4;
  const int visible = step.visible(n0 + lane, position, first);
  const int all = step.visible(n0, position, first);
  const int seen = step.visible(min(n0 + TILE, step.queries()) - 1, position, first);
  score_tile<Cell>(shared, keys, queries, step, kv_head, first, seen, scale);

  const int slice_keys = min(SLICE_CELLS / width, SPLIT);
  const unsigned* words = cache_words(values, step, kv_head, first);
  StagedValues<Cell> staged;
  staged.load(words, row_words, 0, slice_keys, seen, width);
  if (t < TILE) shared.visible[t] = visible;
  const float top = exponentiate_tile(shared, visible);

  float o[4][4 * D];
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int c = 0; c < 4 * D; c++) o[i][c] = 0.0f;
  for (int base = 0; base < seen; base += slice_keys) {
    staged.store(shared.values, slice_keys, width);
    __syncthreads();  // the p_j and this slice are there
    staged.load(words, row_words, base + slice_keys, slice_keys, seen, width);
    if (base == 0 && t < TILE) combine_sums(running, shared, split, visible, top);
    fold_slice<D>(o, shared, base, min(slice_keys, seen - base), all, width);
    __syncthreads();  // the slice is used up; at the end `before` and `after` are there
  }
  combine_values<D>(running, o, shared, split, Place{t >> 5, lane}.query());
  __syncthreads();  // shared memory is written again for the next split
}

// out_d = O_d / L
template <int D>
__device__ __forceinline__ void write_tile(float* out, const Running<D>& running, PrefillShared& shared, const Step& step,
                                           int kv_head, int n0) {
  const int t = (int)threadIdx.x;
  const Place place = {t >> 5, t & 31};
  if (t < TILE) shared.before[t] = running.sum;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 4; i++) {
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
  const long long items = (long long)step.kv_heads * tiles;
  for (long long item = blockIdx.x; item < items; item += gridDim.x) {
    const int kv_head = (int)(item % step.kv_heads), n0 = (tiles - 1 - (int)(item / step.kv_heads)) * TILE;
    const int n_last = min(n0 + TILE, step.queries()) - 1, row_last = n_last / step.group();
    const float* queries[2];
#pragma unroll
    for (int u = 0; u < 2; u++) {
      const int n = n0 + ((int)threadIdx.x >> 4) + 16 * u;
      queries[u] = n <= n_last ? q + step.head_of(n, kv_head) * step.head_dim : nullptr;
    }
    Running<D> running;
    running.top = running.sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
      for (int c = 0; c < 4 * D; c++) running.o[i][c] = 0.0f;
    for (int split = 0; split * SPLIT <= start + row_last; split++)
      attend_tile_split<Cell, D>(running, shared, queries, keys, values, start, step, scale, kv_head, split, n0);
    write_tile<D>(out, running, shared, step, kv_head, n0);
  }
}
