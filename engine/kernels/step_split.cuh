// One split of the attention of one row: scores, exponentials and the fold of the values, for M queries at a time.
#pragma once
#include "step_chunks.cuh"

static const int ADDER = STEP_THREADS / 32 - 1;  // the warp that adds up the p_j
static const int MOST_QUERIES = 4;

struct StepShared {
  uint4 stages[STAGES * STAGE_PIECES];
  float4 p[SPLIT * MOST_QUERIES / 4];                         // first q as [head_dim][M], then the p_j as [keys][M]
  uint4 key[LARGEST_HEAD * 4 / 16], value[LARGEST_HEAD * 4 / 16];  // cells of this step
  float tops[STEP_THREADS / 32 * MOST_QUERIES];               // maxima of the warps, [warps][M]
  float sums[MOST_QUERIES];                                   // L at the end
  int last;                                                   // is this block the last one to arrive?
};

// One work item: M queries from head `head` on, of which `queries` exist, over the split that starts at key `first`.
// `cached` keys of it lie in the cache; the one after them comes with this step if it is `fresh`.
struct StepItem {
  int head, queries, kv_head, first, cached;
  bool fresh;
  __device__ __forceinline__ int seen() const { return cached + fresh; }
};

// q of the item into shared memory, and the new key and value, which the first item of a key head leaves in the cache.
template <class Cell, int WIDEST, int M>
__device__ __forceinline__ void bring_heads(StepShared& shared, const NewHeads& in, Cell* keys, Cell* values,
                                            int position, const StepSizes& n, const StepItem& item) {
  const int warp = (int)threadIdx.x >> 5, lane = (int)threadIdx.x & 31;
  const bool appends = item.head == item.kv_head * n.group();
  const float *cos = in.cos + (long long)position * n.pairs, *sin = in.sin + (long long)position * n.pairs;
  const long long cell = ((long long)item.kv_head * n.context + position) * n.head_dim;
  float* normed = reinterpret_cast<float*>(shared.stages + (STAGES - 1) * STAGE_PIECES) + warp * LARGEST_HEAD;
  float* q = reinterpret_cast<float*>(shared.p);
  if (warp < item.queries) {
    const float* head = in.q + (item.head + warp) * n.head_dim;
    turned_head<WIDEST>(normed, head, in.q_weight, cos, sin, n.head_dim, n.pairs, in.eps,
                        [&](int i, float value) { q[i * M + warp] = value; });
  } else if (warp < M) {
    for (int i = lane; i < n.head_dim; i += 32) q[i * M + warp] = 0.0f;
  } else if (warp == M && item.fresh) {
    Cell* key = reinterpret_cast<Cell*>(shared.key);
    turned_head<WIDEST>(normed, in.k + item.kv_head * n.head_dim, in.k_weight, cos, sin, n.head_dim, n.pairs, in.eps,
                        [&](int i, float value) {
                          store(key + i, value);
                          if (appends) keys[cell + i] = key[i];
                        });
  } else if (warp == M + 1 && item.fresh) {
    Cell* value = reinterpret_cast<Cell*>(shared.value);
    for (int i = lane; i < n.head_dim; i += 32) {
      store(value + i, in.v[item.kv_head * n.head_dim + i]);
      if (appends) values[cell + i] = value[i];
    }
  }
}

// Adds the products of KEY_PIECES pieces of a key, which lie at key[u ^ swap], to the s_j of M queries.
template <class Cell, int M>
__device__ __forceinline__ void score(float (&s)[M], const float4* q, const uint4* key, int swap) {
  const int cells = Packed<Cell>::PER_PIECE;
#pragma unroll
  for (int u = 0; u < KEY_PIECES; u++) {
    float k[cells];
    unpack_piece<Cell>(k, key[u ^ swap]);
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
        for (int i = 0; i < M; i++) s[i] = __fmaf_rn(four[d * M + i], k[e + d], s[i]);
    }
  }
}

// The s_j of this thread's key become p_j in shared memory, where q lay; returns the maxima of the split in `top`.
template <int M>
__device__ __forceinline__ void exponentiate(float (&top)[M], StepShared& shared, float (&s)[M], int seen,
                                             float scale) {
  const int t = (int)threadIdx.x;
#pragma unroll
  for (int i = 0; i < M; i++) {
    s[i] = t < seen ? __fmul_rn(s[i], scale) : __uint_as_float(0xff800000u);  // -infinity
    const float warp_top = warp_nan_max(s[i]);
    if ((t & 31) == 0) shared.tops[(t >> 5) * M + i] = warp_top;
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < M; i++) {
    top[i] = shared.tops[i];
#pragma unroll
    for (int w = 1; w < STEP_THREADS / 32; w++) top[i] = nan_max(top[i], shared.tops[w * M + i]);
    if (t < seen) reinterpret_cast<float*>(shared.p)[t * M + i] = exp32(__fsub_rn(s[i], top[i]));
  }
}

// Folds `count` rows of values, of which `cells` is this thread's first, into o.
template <class Cell, int M>
__device__ __forceinline__ void fold(float (&o)[M], const float4* p, const Cell* cells, int count, int head_dim) {
  int j = 0;
#pragma unroll 2
  for (; j + 4 <= count; j += 4) {
    float four[4 * M], v[4];
#pragma unroll
    for (int u = 0; u < 4; u++) v[u] = value_of(cells[(j + u) * head_dim]);
#pragma unroll
    for (int i = 0; i < M; i++) {
      const float4 part = p[j * M / 4 + i];
      four[4 * i] = part.x, four[4 * i + 1] = part.y, four[4 * i + 2] = part.z, four[4 * i + 3] = part.w;
    }
#pragma unroll
    for (int u = 0; u < 4; u++)
#pragma unroll
      for (int i = 0; i < M; i++) o[i] = __fmaf_rn(four[u * M + i], v[u], o[i]);
  }
  for (; j < count; j++)
#pragma unroll
    for (int i = 0; i < M; i++)
      o[i] = __fmaf_rn(reinterpret_cast<const float*>(p)[j * M + i], value_of(cells[j * head_dim]), o[i]);
}

// What one split gives: in a thread per value its o of M queries, in lane i of the warp ADDER the l of query i, in all
// threads the maxima.
template <int M> struct Attended {
  float o[M], top[M], l;
};

template <class Cell, int WIDEST, int M>
__device__ __forceinline__ Attended<M> attend_split(StepShared& shared, const NewHeads& in, Cell* keys, Cell* values,
                                                    int position, const StepSizes& n, const StepItem& item,
                                                    float scale) {
  const int t = (int)threadIdx.x, pieces = n.head_dim / Packed<Cell>::PER_PIECE;
  const long long start = ((long long)item.kv_head * n.context + item.first) * n.head_dim;
  Chunks chunks{shared.stages, reinterpret_cast<const uint4*>(keys + start),
                reinterpret_cast<const uint4*>(values + start), item.cached, pieces, {}, 0, 0};
  for (int i = 0; i < STAGES - 1; i++) chunks.ask();
  bring_heads<Cell, WIDEST, M>(shared, in, keys, values, position, n, item);

  const bool mine = t < item.seen(), is_new = t == item.cached;
  float s[M];
#pragma unroll
  for (int i = 0; i < M; i++) s[i] = 0.0f;
  for (int c = 0; c < chunks.key_chunks(); c++) {
    const uint4* stage = chunks.take();
    const uint4* key = is_new ? shared.key + c * KEY_PIECES : stage + t * KEY_PIECES;
    const int cells = KEY_PIECES * Packed<Cell>::PER_PIECE;
    if (mine) score<Cell, M>(s, shared.p + c * cells * M / 4, key, is_new ? 0 : key_place(t, 0));
  }
  Attended<M> out;
  exponentiate<M>(out.top, shared, s, item.seen(), scale);

  const float* p = reinterpret_cast<const float*>(shared.p) + (t & 31);  // for the adder
  const bool adds = t >> 5 == ADDER && (t & 31) < M;
  out.l = 0.0f;
#pragma unroll
  for (int i = 0; i < M; i++) out.o[i] = 0.0f;
  int base = 0;
  do {
    const uint4* stage = chunks.take();
    const int count = min(chunks.value_rows(), item.cached - base);
    if (t < n.head_dim)
      fold<Cell, M>(out.o, shared.p + base * M / 4, reinterpret_cast<const Cell*>(stage) + t, count, n.head_dim);
    if (adds)
#pragma unroll 8
      for (int j = base; j < base + count; j++) out.l = __fadd_rn(out.l, p[j * M]);
    base += chunks.value_rows();
  } while (base < item.cached);
  if (item.fresh) {
    const float value = t < n.head_dim ? value_of(reinterpret_cast<const Cell*>(shared.value)[t]) : 0.0f;
#pragma unroll
    for (int i = 0; i < M; i++)
      out.o[i] = __fmaf_rn(reinterpret_cast<const float*>(shared.p)[item.cached * M + i], value, out.o[i]);
    if (adds) out.l = __fadd_rn(out.l, p[item.cached * M]);
  }
  return out;
}
