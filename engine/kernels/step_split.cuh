// One split of the attention of one row: scores, exponentials and the fold of the values, for M queries at a time.
#pragma once
#include "step_chunks.cuh"

static const int ADDER = STEP_THREADS / 32 - 1;  // the warp that adds up the p_j
static const int MOST_QUERIES = 4;

struct StepShared {
  uint4 stages[STAGES * STAGE_PIECES];
  float4 p[SPLIT * MOST_QUERIES / 4];                         // first q as [head_dim][M], then the p_j as [keys][M]
  uint4 key[LARGEST_HEAD * 4 / 16], value[LARGEST_HEAD * 4 / 16];  // cells of this step
  float heads[(MOST_QUERIES + 1) * LARGEST_HEAD];             // of warps, normed; at the end O, [queries][head_dim]
  float tops[STEP_THREADS / 32 * MOST_QUERIES];               // maxima of the warps, [warps][M]
  float sums[MOST_QUERIES];                                   // L at the end
  int last;                                                   // is this block the last one to arrive?
};

// One work item: `queries` queries from head `head` on over the split that starts at key `first`. `cached` keys of it
// lie in the cache; the one after them comes with this step if it is `fresh`. In shared memory there is room for `room`
// queries side by side, 1 or MOST_QUERIES.
struct StepItem {
  int head, queries, room, kv_head, first, cached;
  bool fresh;
  __device__ __forceinline__ int seen() const { return cached + fresh; }
};

// One warp copies the cells of a head.
__device__ __forceinline__ void copy_cells(uint4* to, const uint4* from, int pieces) {
#pragma unroll 1
  for (int i = (int)threadIdx.x & 31; i < pieces; i += 32) to[i] = from[i];
}

// What turns the heads of this warp, in every item: the queries', or the key's.
template <int WIDEST>
__device__ __forceinline__ HeadTurn<WIDEST> turn_of_warp(const NewHeads& in, int position, const StepSizes& n) {
  const long long row = (long long)position * n.pairs;
  const bool is_key = (int)threadIdx.x >> 5 == MOST_QUERIES;
  return HeadTurn<WIDEST>(is_key ? in.k_weight : in.q_weight, in.cos + row, in.sin + row, n.head_dim, n.pairs);
}

// q of the item into shared memory, and the new key and value, which the first item of a key head leaves in the cache.
template <class Cell, int WIDEST>
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
      else q[i * item.room] = value;
    });
    __syncwarp();
    if (is_key && appends) copy_cells(reinterpret_cast<uint4*>(keys + cell), shared.key, pieces);
  } else if (warp < item.room) {
#pragma unroll 1
    for (int i = lane; i < n.head_dim; i += 32) q[i * item.room] = 0.0f;
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

// Adds the products of KEY_PIECES pieces of a key, which lie at key[u ^ swap], to the s_j of M queries.
template <class Cell, int M>
__device__ __forceinline__ void score(float (&s)[MOST_QUERIES], const float4* q, const uint4* key, int swap) {
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
__device__ __forceinline__ void exponentiate(float (&top)[MOST_QUERIES], StepShared& shared,
                                             const float (&scores)[MOST_QUERIES], int seen, float scale) {
  const int t = (int)threadIdx.x;
  float s[M];
#pragma unroll
  for (int i = 0; i < M; i++) {
    s[i] = t < seen ? __fmul_rn(scores[i], scale) : __uint_as_float(0xff800000u);  // -infinity
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

// A cell by its bits, a register each: two in one would have to wait for both.
__device__ __forceinline__ unsigned bits_of(float cell) { return __float_as_uint(cell); }
__device__ __forceinline__ unsigned bits_of(unsigned short cell) { return cell; }
template <class Cell> __device__ __forceinline__ float from_bits(unsigned bits);
template <> __device__ __forceinline__ float from_bits<float>(unsigned bits) { return __uint_as_float(bits); }
template <> __device__ __forceinline__ float from_bits<unsigned short>(unsigned bits) {
  return half_to_float((unsigned short)bits);
}

// STEP keys' p_j of M queries and one value of each, on their way from shared memory.
template <class Cell, int STRIDE, int M> struct Folded {
  static const int STEP = M == 1 ? 8 : 4;
  float4 p[STEP * M / 4];
  unsigned v[STEP];
  __device__ __forceinline__ void load(const float4* from, const Cell* cells) {
#pragma unroll
    for (int u = 0; u < STEP; u++) v[u] = bits_of(cells[u * STRIDE]);
#pragma unroll
    for (int i = 0; i < STEP * M / 4; i++) p[i] = from[i];
  }
  __device__ __forceinline__ void fold(float (&o)[MOST_QUERIES]) const {
#pragma unroll
    for (int u = 0; u < STEP; u++) {
      const float value = from_bits<Cell>(v[u]);
#pragma unroll
      for (int i = 0; i < M; i++) {
        const float4& four = p[(u * M + i) / 4];
        const int at = (u * M + i) % 4;
        o[i] = __fmaf_rn(at == 0 ? four.x : at == 1 ? four.y : at == 2 ? four.z : four.w, value, o[i]);
      }
    }
  }
};

// Folds `count` rows of values, STRIDE cells apart, of which `cells` is this thread's first, into o. Two steps are in
// registers, the younger one on its way; past the last whole step the one before is loaded again.
template <class Cell, int STRIDE, int M>
__device__ __forceinline__ void fold(float (&o)[MOST_QUERIES], const float4* p, const Cell* cells, int count) {
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
  for (int j = 0; j < left; j++)
#pragma unroll
    for (int i = 0; i < M; i++)
      o[i] = __fmaf_rn(reinterpret_cast<const float*>(p)[j * M + i], value_of(cells[j * STRIDE]), o[i]);
}

// Adds up `count` p_j of a query among M.
template <int M> __device__ __forceinline__ float add_up(float l, const float* p, int count) {
  const int STEP = 16;
#pragma unroll 1
  for (; count >= STEP; count -= STEP, p += STEP * M) {
    float part[STEP];
#pragma unroll
    for (int u = 0; u < STEP; u++) part[u] = p[u * M];
#pragma unroll
    for (int u = 0; u < STEP; u++) l = __fadd_rn(l, part[u]);
  }
#pragma unroll 1
  for (int j = 0; j < count; j++) l = __fadd_rn(l, p[j * M]);
  return l;
}

// What one split gives: in a thread per value its o of the queries, in lane i of the warp ADDER the l of query i, in
// all threads the maxima.
struct Attended {
  float o[MOST_QUERIES], top[MOST_QUERIES], l;
};

// The keys and values of an item on their way, as far as there is room.
template <class Cell, int WIDEST>
__device__ __forceinline__ Chunks<Cell, WIDEST> ask_first(StepShared& shared, const Cell* keys, const Cell* values,
                                                          const StepSizes& n, const StepItem& item) {
  const long long start = ((long long)item.kv_head * n.context + item.first) * n.head_dim;
  Chunks<Cell, WIDEST> chunks(shared.stages, reinterpret_cast<const uint4*>(keys + start),
                              reinterpret_cast<const uint4*>(values + start), item.cached,
                              n.head_dim / Packed<Cell>::PER_PIECE);
#pragma unroll 1
  for (int i = 0; i < STAGES - 1; i++) chunks.ask();
  return chunks;
}

// One item, whose heads bring_heads has left in shared memory.
template <class Cell, int WIDEST>
__device__ __forceinline__ Attended attend_split(StepShared& shared, Chunks<Cell, WIDEST>& chunks, const StepSizes& n,
                                                 const StepItem& item, float scale) {
  const int t = (int)threadIdx.x, cells = KEY_PIECES * Packed<Cell>::PER_PIECE;
  const int key_chunks = n.head_dim / Packed<Cell>::PER_PIECE / KEY_PIECES, lane = t & 31;
  using Ring = Chunks<Cell, WIDEST>;
  const bool one = item.room == 1, mine = t < item.seen(), is_new = t == item.cached;
  const bool adds = t >> 5 == ADDER && lane < item.room;
  const float* p = reinterpret_cast<const float*>(shared.p);
  float s[MOST_QUERIES];
  Attended out;
#pragma unroll
  for (int i = 0; i < MOST_QUERIES; i++) s[i] = out.o[i] = 0.0f;
  out.l = 0.0f;
#pragma unroll 1
  for (int c = 0, base = 0; c <= key_chunks || base < item.cached; c++) {
    const uint4* stage = chunks.take();
    if (c < key_chunks) {
      const uint4* key = is_new ? shared.key + c * KEY_PIECES : stage + t * KEY_PIECES;
      const int swap = is_new ? 0 : key_place(t, 0);
      if (mine && one) score<Cell, 1>(s, shared.p + c * cells / 4, key, swap);
      if (mine && !one) score<Cell, MOST_QUERIES>(s, shared.p + c * cells * MOST_QUERIES / 4, key, swap);
      if (c < key_chunks - 1) continue;
      if (one) exponentiate<1>(out.top, shared, s, item.seen(), scale);
      else exponentiate<MOST_QUERIES>(out.top, shared, s, item.seen(), scale);
    } else {
      const int count = min(Ring::VALUE_ROWS, item.cached - base);
      const Cell* cells_of = reinterpret_cast<const Cell*>(stage) + t;
      const float* to_add = p + base * item.room + lane;
      if (one) {
        if (t < n.head_dim) fold<Cell, WIDEST, 1>(out.o, shared.p + base / 4, cells_of, count);
        if (adds) out.l = add_up<1>(out.l, to_add, count);
      } else {
        const float4* from = shared.p + base * MOST_QUERIES / 4;
        if (t < n.head_dim) fold<Cell, WIDEST, MOST_QUERIES>(out.o, from, cells_of, count);
        if (adds) out.l = add_up<MOST_QUERIES>(out.l, to_add, count);
      }
      base += Ring::VALUE_ROWS;
    }
  }
  if (item.fresh) {
    const float value = t < n.head_dim ? value_of(reinterpret_cast<const Cell*>(shared.value)[t]) : 0.0f;
#pragma unroll
    for (int i = 0; i < MOST_QUERIES; i++)
      if (i < item.room) out.o[i] = __fmaf_rn(p[item.cached * item.room + i], value, out.o[i]);
    if (adds) out.l = __fadd_rn(out.l, p[item.cached * item.room + lane]);
  }
  return out;
}
