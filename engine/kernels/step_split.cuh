// One split of the attention of one row: scores, exponentials and the fold of the values, for M queries at a time.
#pragma once
#include "step_chunks.cuh"

static const int ADDER = STEP_THREADS / 32 - 1;  // the warp that adds up the p_j
static const int MOST_QUERIES = 4;
static const int SCORED = 2, SCORERS = SPLIT / SCORED;  // keys that a thread scores, and threads that do

struct StepShared {
  float4 p[SPLIT * MOST_QUERIES / 4];                         // first q as [head_dim][M], then the p_j as [keys][M]
  uint4 key[LARGEST_HEAD * 4 / 16], value[LARGEST_HEAD * 4 / 16];  // cells of this step
  float heads[(MOST_QUERIES + 1) * LARGEST_HEAD];             // of warps, normed; at the end O, [queries][head_dim]
  float tops[SCORERS / 32 * MOST_QUERIES];                    // maxima of the warps, [warps][M]
  float sums[MOST_QUERIES];                                   // L at the end
  int last;                                                   // is this block the last one to arrive?
};

// One work item: `queries` queries from head `head` on over the split that starts at key `first`. `cached` keys of it
// lie in the cache; the one after them comes with this step if it is `fresh`. Items have M queries, 1 or MOST_QUERIES, or
// fewer, with zeros in place of the others.
struct StepItem {
  int head, queries, kv_head, first, cached;
  bool fresh;
  __device__ __forceinline__ int seen() const { return cached + fresh; }
};

// One warp copies the cells of a head.
__device__ __forceinline__ void copy_cells(uint4* to, const uint4* from, int pieces) {
#pragma unroll 1
  for (int i = (int)threadIdx.x & 31; i < pieces; i += 32) to[i] = from[i];
}

// What turns the heads of this warp: the queries', or the key's.
template <int WIDEST>
__device__ __forceinline__ HeadTurn<WIDEST> turn_of_warp(const NewHeads& in, int position, const StepSizes& n) {
  const long long row = (long long)position * n.pairs;
  const bool is_key = (int)threadIdx.x >> 5 == MOST_QUERIES;
  return HeadTurn<WIDEST>(is_key ? in.k_weight : in.q_weight, in.cos + row, in.sin + row, n.head_dim, n.pairs);
}

// q of the item into shared memory, and the new key and value, which the first item of a key head leaves in the cache.
template <class Cell, int WIDEST, int M>
__device__ __forceinline__ void bring_heads(StepShared& shared, const NewHeads& in, const HeadTurn<WIDEST>& turn,
                                            Cell* keys, Cell* values, int position, const StepSizes& n,
                                            const StepItem& item) {
  const int warp = (int)threadIdx.x >> 5, lane = (int)threadIdx.x & 31, pieces = n.head_dim / Packed<Cell>::PER_PIECE;
  const bool appends = item.head == item.kv_head * n.group, is_key = warp == MOST_QUERIES;
  const long long cell = ((long long)item.kv_head * n.context + position) * n.head_dim;
  float* q = reinterpret_cast<float*>(shared.p) + warp;
  if (warp < item.queries || (is_key && item.fresh)) {
    float* normed = shared.heads + warp * LARGEST_HEAD;
    const float* head = is_key ? in.k + item.kv_head * n.head_dim : in.q + (item.head + warp) * n.head_dim;
    Cell* key = reinterpret_cast<Cell*>(shared.key);
    turned_head<WIDEST>(normed, head, turn, n.head_dim, n.pairs, in.eps, [&](int i, float value) {
      if (is_key) store(key + i, value);
      else q[i * M] = value;
    });
    __syncwarp();
    if (is_key && appends) copy_cells(reinterpret_cast<uint4*>(keys + cell), shared.key, pieces);
  } else if (warp < M) {
#pragma unroll 1
    for (int i = lane; i < n.head_dim; i += 32) q[i * M] = 0.0f;
  } else if (warp == MOST_QUERIES + 1 && item.fresh) {
    Cell* value = reinterpret_cast<Cell*>(shared.value);
    const float4* from = reinterpret_cast<const float4*>(in.v + item.kv_head * n.head_dim);
#pragma unroll 1
    for (int i = lane; i < n.head_dim / 4; i += 32) {
      const float4 four = from[i];
      store(value + 4 * i, four.x), store(value + 4 * i + 1, four.y);
      store(value + 4 * i + 2, four.z), store(value + 4 * i + 3, four.w);
    }
    __syncwarp();
    if (appends) copy_cells(reinterpret_cast<uint4*>(values + cell), shared.value, pieces);
  }
}

// The keys that a thread scores: SCORED of them 32 apart, those of a warp neighbours. A q_d comes to a thread once for all
// of its keys, which is most of what shared memory has to give here.
__device__ __forceinline__ int first_key() {
  const int t = (int)threadIdx.x;
  return (t & 31) + (t >> 5) * 32 * SCORED;
}

// KEY_PIECES pieces of the keys of a thread: piece u of key j lies at at[j][u ^ swap[j]].
struct KeyPlaces {
  const uint4* at[SCORED];
  int swap[SCORED];

  // Of chunk c, in `stage`. The key of this step lies elsewhere; in place of one that is not seen stands the first.
  __device__ __forceinline__ KeyPlaces(const StepShared& shared, const uint4* stage, const StepItem& item, int c) {
#pragma unroll
    for (int j = 0; j < SCORED; j++) {
      const int own = first_key() + 32 * j, key = own < item.seen() ? own : first_key();
      const bool is_new = key == item.cached;
      at[j] = is_new ? shared.key + c * KEY_PIECES : stage + key * KEY_PIECES;
      swap[j] = is_new ? 0 : key_place(key, 0);
    }
  }
};

// Adds the products of KEY_PIECES pieces to the s_j of M queries.
template <class Cell, int M>
__device__ __forceinline__ void score(float (&s)[SCORED][M], const float4* q, const KeyPlaces& keys) {
  const int cells = Packed<Cell>::PER_PIECE;
#pragma unroll
  for (int u = 0; u < KEY_PIECES; u++) {
    float k[SCORED][cells];
#pragma unroll
    for (int j = 0; j < SCORED; j++) unpack_piece<Cell>(k[j], keys.at[j][u ^ keys.swap[j]]);
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
        for (int j = 0; j < SCORED; j++)
#pragma unroll
          for (int i = 0; i < M; i++) s[j][i] = __fmaf_rn(four[d * M + i], k[j][e + d], s[j][i]);
    }
  }
}

// The s_j of this thread's keys become p_j in shared memory, where q lay; returns the maxima of the split in `top`.
template <int M>
__device__ __forceinline__ void exponentiate(float (&top)[M], StepShared& shared, float (&s)[SCORED][M],
                                             int seen, float scale) {
  const int t = (int)threadIdx.x, first = first_key();
  if (t < SCORERS) {
#pragma unroll
    for (int i = 0; i < M; i++) {
      float own = __uint_as_float(0xff800000u);  // -infinity
#pragma unroll
      for (int j = 0; j < SCORED; j++) {
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
#pragma unroll
    for (int j = 0; j < SCORED; j++)
      if (first + 32 * j < seen)
        reinterpret_cast<float*>(shared.p)[(first + 32 * j) * M + i] = exp32(__fsub_rn(s[j][i], top[i]));
  }
}

// Two neighbouring cells on their way from shared memory.
template <class Cell> struct TwoCells {
  static const int WORDS = 2 / Packed<Cell>::PER_WORD;
  unsigned word[WORDS];
  __device__ __forceinline__ void load(const Cell* cells) {
    const unsigned* from = reinterpret_cast<const unsigned*>(cells);
    if constexpr (WORDS == 1) {
      word[0] = from[0];
    } else {
      const uint2 two = *reinterpret_cast<const uint2*>(from);
      word[0] = two.x, word[1] = two.y;
    }
  }
  __device__ __forceinline__ void unpack(float (&to)[2]) const {
#pragma unroll
    for (int w = 0; w < WORDS; w++) Packed<Cell>::unpack(to + w * Packed<Cell>::PER_WORD, word[w]);
  }
};

// Folds the two values at `cells` with the p_j of M queries.
template <class Cell, int M>
__device__ __forceinline__ void fold_one(float (&o)[M][2], const float* p, const Cell* cells) {
  TwoCells<Cell> two;
  two.load(cells);
  float value[2];
  two.unpack(value);
#pragma unroll
  for (int i = 0; i < M; i++) o[i][0] = __fmaf_rn(p[i], value[0], o[i][0]), o[i][1] = __fmaf_rn(p[i], value[1], o[i][1]);
}

// STEP keys' p_j of M queries and two values of each, on their way from shared memory.
template <class Cell, int STRIDE, int M> struct Folded {
  static const int STEP = M == 1 ? 8 : 4;
  float4 p[STEP * M / 4];
  TwoCells<Cell> v[STEP];
  __device__ __forceinline__ void load(const float4* from, const Cell* cells) {
#pragma unroll
    for (int u = 0; u < STEP; u++) v[u].load(cells + u * STRIDE);
#pragma unroll
    for (int i = 0; i < STEP * M / 4; i++) p[i] = from[i];
  }
  __device__ __forceinline__ void fold(float (&o)[M][2]) const {
#pragma unroll
    for (int u = 0; u < STEP; u++) {
      float value[2];
      v[u].unpack(value);
#pragma unroll
      for (int i = 0; i < M; i++) {
        const float4& four = p[(u * M + i) / 4];
        const int at = (u * M + i) % 4;
        const float weight = at == 0 ? four.x : at == 1 ? four.y : at == 2 ? four.z : four.w;
        o[i][0] = __fmaf_rn(weight, value[0], o[i][0]);
        o[i][1] = __fmaf_rn(weight, value[1], o[i][1]);
      }
    }
  }
};

// Folds `count` rows of values, STRIDE cells apart, of which `cells` is this thread's first two, into o. Two steps are in
// registers, the younger one on its way; past the last whole step the one before is loaded again.
template <class Cell, int STRIDE, int M>
__device__ __forceinline__ void fold(float (&o)[M][2], const float4* p, const Cell* cells, int count) {
  using Part = Folded<Cell, STRIDE, M>;
  const int STEP = Part::STEP;
  int left = count;
  if (left >= STEP) {
    Part now, next;
    now.load(p, cells);
#pragma unroll 2
    for (; left >= STEP; left -= STEP) {
      const int on = left >= 2 * STEP ? STEP : 0;
      p += on * M / 4, cells += on * STRIDE;
      next.load(p, cells);
      now.fold(o);
      now = next;
    }
    p += STEP * M / 4, cells += STEP * STRIDE;
  }
#pragma unroll 1
  for (int j = 0; j < left; j++) fold_one<Cell, M>(o, reinterpret_cast<const float*>(p) + j * M, cells + j * STRIDE);
}

// Adds up `count` p_j of a query among M; the next ones are on their way meanwhile.
template <int M> __device__ __forceinline__ float add_up(float l, const float* p, int count) {
  const int STEP = 16;
  float now[STEP], next[STEP];
  int left = count;
  if (left >= STEP) {
#pragma unroll
    for (int u = 0; u < STEP; u++) now[u] = p[u * M];
#pragma unroll 2
    for (; left >= STEP; left -= STEP) {
      p += left >= 2 * STEP ? STEP * M : 0;
#pragma unroll
      for (int u = 0; u < STEP; u++) next[u] = p[u * M];
#pragma unroll
      for (int u = 0; u < STEP; u++) l = __fadd_rn(l, now[u]), now[u] = next[u];
    }
    p += STEP * M;
  }
#pragma unroll 1
  for (int j = 0; j < left; j++) l = __fadd_rn(l, p[j * M]);
  return l;
}

// What one split gives: in a thread per two values its o of the queries, in lane i of the warp ADDER the l of query i, in
// all threads the maxima.
template <int M> struct Attended {
  float o[M][2], top[M], l;
};

// The keys and values of an item on their way, as far as there is room behind `shared`.
template <class Cell, int WIDEST, int STAGES>
__device__ __forceinline__ Chunks<Cell, WIDEST, STAGES> ask_first(StepShared& shared, const Cell* keys,
                                                                  const Cell* values, const StepSizes& n,
                                                                  const StepItem& item) {
  const long long start = ((long long)item.kv_head * n.context + item.first) * n.head_dim;
  Chunks<Cell, WIDEST, STAGES> chunks(
      reinterpret_cast<uint4*>(&shared + 1), reinterpret_cast<const uint4*>(keys + start),
      reinterpret_cast<const uint4*>(values + start), item.cached, n.head_dim / Packed<Cell>::PER_PIECE);
  chunks.ask_first();
  return chunks;
}

// One item, whose heads bring_heads has left in shared memory.
template <class Cell, int WIDEST, int M, int STAGES>
__device__ __forceinline__ Attended<M> attend_split(StepShared& shared, Chunks<Cell, WIDEST, STAGES>& chunks,
                                                    const StepSizes& n, const StepItem& item, float scale) {
  const int t = (int)threadIdx.x, lane = t & 31, cells = KEY_PIECES * Packed<Cell>::PER_PIECE;
  const int key_chunks = n.head_dim / cells, ROWS = Chunks<Cell, WIDEST, STAGES>::VALUE_ROWS;
  const bool scores = t < SCORERS && first_key() < item.seen(), folds = 2 * t < n.head_dim;
  const bool adds = t >> 5 == ADDER && lane < M;
  float s[SCORED][M] = {};
#pragma unroll 1
  for (int c = 0; c < key_chunks; c++) {
    const uint4* stage = chunks.take_keys(c);
    if (scores) score<Cell, M>(s, shared.p + c * cells * M / 4, KeyPlaces(shared, stage, item, c));
  }
  Attended<M> out = {};
  exponentiate<M>(out.top, shared, s, item.seen(), scale);
  const float* p = reinterpret_cast<const float*>(shared.p);
  int base = 0;
  do {  // once without a row, too: there is a barrier in it
    const Cell* cells_of = reinterpret_cast<const Cell*>(chunks.take_values()) + 2 * t;
    const int count = min(ROWS, item.cached - base);
    if (folds) fold<Cell, WIDEST, M>(out.o, shared.p + base * M / 4, cells_of, count);
    if (adds) out.l = add_up<M>(out.l, p + base * M + lane, count);
    base += ROWS;
  } while (base < item.cached);
  if (item.fresh) {
    if (folds) fold_one<Cell, M>(out.o, p + item.cached * M, reinterpret_cast<const Cell*>(shared.value) + 2 * t);
    if (adds) out.l = __fadd_rn(out.l, p[item.cached * M + lane]);
  }
  return out;
}
