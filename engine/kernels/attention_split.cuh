// Attention of few rows: one block per split of keys, partial results combined by another kernel.
#pragma once
#include "attention.cuh"

static const int SPLIT_THREADS = 288;   // one per key, and a warp that adds up the p_j
static const int VALUE_PIECES = 1024;   // 16-byte pieces of values in shared memory at a time
static const int P_STRIDE = SPLIT + 4;  // of the p_j of one query in shared memory

// M queries are computed together.
template <int M> struct __align__(16) SplitShared {
  float q[LARGEST_HEAD * M];   // [head_dim][M], zero up to a multiple of 8 in head_dim
  float p[M * P_STRIDE];       // [M][keys]: the s_j, then the p_j
  uint4 values[VALUE_PIECES];  // consecutive rows of values as they lie in the cache
  int visible[M];
};

// One thread's share of a slice of values.
struct ValuePieces { uint4 piece[VALUE_PIECES / SPLIT]; };

__device__ __forceinline__ ValuePieces load_values(const unsigned* words, int start, int slice_words, int end,
                                                   bool whole) {
  ValuePieces share;
  const int limit = min(start + slice_words, end);
#pragma unroll
  for (int u = 0; u < VALUE_PIECES / SPLIT; u++)
    share.piece[u] = load_piece(words, start + 4 * ((int)threadIdx.x + u * SPLIT), limit, whole);
  return share;
}

// Pieces of its key that a thread loads at a time; two times as many are on their way.
template <class Cell> struct KeyPieces {
  static const int COUNT = Packed<Cell>::PER_WORD == 2 ? 8 : 4;
  uint4 piece[COUNT];
};

template <class Cell>
__device__ __forceinline__ KeyPieces<Cell> load_key(const unsigned* words, int first_piece, int row_words, bool whole) {
  KeyPieces<Cell> part;
#pragma unroll
  for (int u = 0; u < part.COUNT; u++)
    part.piece[u] = load_piece(words, 4 * (first_piece + u), row_words, whole);
  return part;
}

// s_j of M queries and this thread's key, of which the first 2 * COUNT pieces are given.
template <class Cell, int M>
__device__ __forceinline__ void score(float (&s)[M], const float* q, const unsigned* key, KeyPieces<Cell> now,
                                      KeyPieces<Cell> next, int row_words, int key_words, bool whole) {
  const int cells = Packed<Cell>::PER_PIECE, pieces = (row_words + 3) / 4;
#pragma unroll
  for (int i = 0; i < M; i++) s[i] = 0.0f;
  for (int first = 0; first < pieces; first += now.COUNT) {
#pragma unroll
    for (int u = 0; u < now.COUNT; u++) {
      if (first + u < pieces) {
        float k[cells];
        unpack_piece<Cell>(k, now.piece[u]);
        const float4* fours = reinterpret_cast<const float4*>(q + (first + u) * cells * M);
#pragma unroll
        for (int f = 0; f < cells * M; f += 4) {  // [cell][query]
          const float4 qd = fours[f / 4];
          s[f % M] = __fmaf_rn(qd.x, k[f / M], s[f % M]);
          s[(f + 1) % M] = __fmaf_rn(qd.y, k[(f + 1) / M], s[(f + 1) % M]);
          s[(f + 2) % M] = __fmaf_rn(qd.z, k[(f + 2) / M], s[(f + 2) % M]);
          s[(f + 3) % M] = __fmaf_rn(qd.w, k[(f + 3) / M], s[(f + 3) % M]);
        }
      }
    }
    now = next;
    next = load_key<Cell>(key, first + 2 * now.COUNT, key_words, whole);
  }
}

// One warp turns the visible s_j of a query into p_j. Returns their maximum.
__device__ __forceinline__ float exponentiate(float* p, int visible) {
  const int lane = (int)threadIdx.x & 31;
  float top = __uint_as_float(0xff800000u);  // -infinity
  for (int j = lane; j < visible; j += 32) top = nan_max(top, p[j]);
  top = warp_nan_max(top);
  for (int j = lane; j < visible; j += 32) p[j] = exp32(__fsub_rn(p[j], top));
  return top;
}

// p_j of M queries and the values of four keys from `base + j` on, of which j is the first in shared.values.
template <class Cell, int M> struct FourKeys {
  float v[4], p[M][4];
  __device__ __forceinline__ FourKeys(const SplitShared<M>& shared, int base, int j, int d, int head_dim) {
    const Cell* values = reinterpret_cast<const Cell*>(shared.values);
#pragma unroll
    for (int u = 0; u < 4; u++) v[u] = value_of(values[(j + u) * head_dim + d]);
#pragma unroll
    for (int i = 0; i < M; i++) {
      const float4 four = *reinterpret_cast<const float4*>(shared.p + i * P_STRIDE + base + j);
      p[i][0] = four.x, p[i][1] = four.y, p[i][2] = four.z, p[i][3] = four.w;
    }
  }
};

// Folds `count` keys from `base` on, whose values lie at the start of shared.values, into o. Keys below `all` are seen
// by all queries.
template <class Cell, int M>
__device__ __forceinline__ void fold_values(float (&o)[M], const SplitShared<M>& shared, int base, int count, int all, int d,
                                            int head_dim) {
  const int whole = min(count, all - base);
  int j = 0;
#pragma unroll(M > 2 ? 1 : 4)  // few chains wait for their loads
  for (; j + 4 <= whole; j += 4) {
    const FourKeys<Cell, M> keys(shared, base, j, d, head_dim);
#pragma unroll
    for (int u = 0; u < 4; u++)
#pragma unroll
      for (int i = 0; i < M; i++) o[i] = __fmaf_rn(keys.p[i][u], keys.v[u], o[i]);
  }
  for (; j < count; j += 4) {  // what the last four read past `count` is defined and not used
    const FourKeys<Cell, M> keys(shared, base, j, d, head_dim);
#pragma unroll
    for (int u = 0; u < 4; u++)
#pragma unroll
      for (int i = 0; i < M; i++)
        if (base + j + u < shared.visible[i]) o[i] = __fmaf_rn(keys.p[i][u], keys.v[u], o[i]);
  }
}

// What a split leaves behind for attention_combine: o (rows, heads, splits, head_dim), m and l (rows, heads, splits).
struct Partials {
  float *o, *m, *l;
};

// One work item: the queries tile * M .. tile * M + M - 1 of a key head over one split.
template <class Cell, int M>
__device__ __forceinline__ void attend_split(SplitShared<M>& shared, const Partials& out, const float* q,
                                             const Cell* keys, const Cell* values, int position, const Step& step,
                                             float scale, int kv_head, int split, int tile) {
  const int t = (int)threadIdx.x, warp = t >> 5, lane = t & 31, head_dim = step.head_dim;
  const int row_words = head_dim / Packed<Cell>::PER_WORD, first = split * SPLIT, n0 = tile * M;
  const int splits = (step.context + SPLIT - 1) / SPLIT;
  const bool whole = row_words % 4 == 0;
  const int last = min(n0 + M, step.queries()) - 1;
  const int all = step.visible(n0, position, first), seen = step.visible(last, position, first);

  // Everything that comes from far away is asked for first.
  const int slice_keys = min(4 * VALUE_PIECES / row_words / 4 * 4, SPLIT), slice_words = slice_keys * row_words;
  const int end = t < SPLIT ? seen * row_words : 0, key_words = t < seen ? row_words : 0;
  const unsigned* value_words = cache_words(values, step, kv_head, first);
  const unsigned* key = cache_words(keys, step, kv_head, first) + (long long)min(t, SPLIT - 1) * row_words;
  const KeyPieces<Cell> now = load_key<Cell>(key, 0, key_words, whole);
  const KeyPieces<Cell> next = load_key<Cell>(key, now.COUNT, key_words, whole);
  ValuePieces slice = load_values(value_words, 0, slice_words, end, whole);
  ValuePieces coming = load_values(value_words, slice_words, slice_words, end, whole);

  for (int e = t; e < (head_dim + 7) / 8 * 8 * M; e += SPLIT_THREADS) {
    const int d = e / M, n = n0 + e % M;
    shared.q[e] = d < head_dim && n <= last ? q[step.head_of(n, kv_head) * head_dim + d] : 0.0f;
  }
  if (t < M) shared.visible[t] = step.visible(n0 + t, position, first);
  __syncthreads();

  if (t < SPLIT) {
    float s[M];
    score<Cell, M>(s, shared.q, key, now, next, row_words, key_words, whole);
#pragma unroll
    for (int i = 0; i < M; i++) shared.p[i * P_STRIDE + t] = __fmul_rn(s[i], scale);
  }
  __syncthreads();
  if (warp < M && shared.visible[warp] > 0) {
    const float top = exponentiate(shared.p + warp * P_STRIDE, shared.visible[warp]);
    if (lane == 0) out.m[step.head_of(n0 + warp, kv_head) * splits + split] = top;
  }

  float o[M], l = 0.0f;
#pragma unroll
  for (int i = 0; i < M; i++) o[i] = 0.0f;
  for (int base = 0; base < seen; base += slice_keys) {
    __syncthreads();  // the p_j are there, the slice before is used up
    if (t < SPLIT) {
#pragma unroll
      for (int u = 0; u < VALUE_PIECES / SPLIT; u++) shared.values[t + u * SPLIT] = slice.piece[u];
      slice = coming;
      coming = load_values(value_words, (base + 2 * slice_keys) * row_words, slice_words, end, whole);
    }
    __syncthreads();
    const int count = min(slice_keys, seen - base);
    if (t < head_dim) fold_values<Cell, M>(o, shared, base, count, all, t, head_dim);
    if (warp == SPLIT / 32 && lane < M)
#pragma unroll 8
      for (int j = base; j < min(base + count, shared.visible[lane]); j++)
        l = __fadd_rn(l, shared.p[lane * P_STRIDE + j]);
  }

#pragma unroll
  for (int i = 0; i < M; i++) {
    if (t < head_dim && shared.visible[i] > 0)
      out.o[(step.head_of(n0 + i, kv_head) * splits + split) * head_dim + t] = o[i];
  }
  if (warp == SPLIT / 32 && lane < M && shared.visible[lane] > 0)
    out.l[step.head_of(n0 + lane, kv_head) * splits + split] = l;
  __syncthreads();  // shared memory is written again for the next item
}

// All work items of M queries at position `start`; those without a visible key end at once.
template <class Cell, int M>
__device__ __forceinline__ void attend_tiles_of(SplitShared<M>& shared, const Partials& out, const float* q,
                                                const Cell* keys, const Cell* values, int start, const Step& step,
                                                float scale) {
  const int splits = (step.context + SPLIT - 1) / SPLIT, tiles = (step.queries() + M - 1) / M;
  const int items = step.kv_heads * splits * tiles;
  for (int item = (int)blockIdx.x; item < items; item += (int)gridDim.x) {
    const int kv_head = item % step.kv_heads, tile = item / step.kv_heads % tiles;
    const int split = item / step.kv_heads / tiles;
    if (step.visible(min((tile + 1) * M, step.queries()) - 1, start, split * SPLIT) == 0) continue;
    attend_split<Cell, M>(shared, out, q, keys, values, start, step, scale, kv_head, split, tile);
  }
}

// All work items of attention_split: of as few queries as there are blocks for, else of 8, which read a key least often.
template <class Cell>
__device__ __forceinline__ void attend_splits(SplitShared<8>& shared, const Partials& out, const float* q,
                                              const Cell* keys, const Cell* values, const int* position,
                                              const Step& step, float scale) {
  pdl_launch_dependents();
  pdl_wait();
  const int start = position[0], seen = min(start + step.rows, step.context);
  const int splits = step.kv_heads * ((seen + SPLIT - 1) / SPLIT), queries = step.queries(), blocks = (int)gridDim.x;
  if (splits * queries <= blocks)
    attend_tiles_of<Cell, 1>(reinterpret_cast<SplitShared<1>&>(shared), out, q, keys, values, start, step, scale);
  else if (splits * ((queries + 1) / 2) <= blocks)
    attend_tiles_of<Cell, 2>(reinterpret_cast<SplitShared<2>&>(shared), out, q, keys, values, start, step, scale);
  else if (splits * ((queries + 3) / 4) <= blocks || queries <= 4)
    attend_tiles_of<Cell, 4>(reinterpret_cast<SplitShared<4>&>(shared), out, q, keys, values, start, step, scale);
  else
    attend_tiles_of<Cell, 8>(shared, out, q, keys, values, start, step, scale);
}
