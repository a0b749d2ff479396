// Attention of many rows: one block per tile of queries, which takes the splits one after the other.
#pragma once
#include "attention_prefill_scores.cuh"
#include "attention_prefill_values.cuh"

// M and L of a query, in the thread of its number.
struct Running {
  float top, sum;
};

// Thread t combines l of query t with the splits before.
__device__ __forceinline__ void combine_sums(Running& running, PrefillShared& shared, int split, float top, float sum) {
  const int t = (int)threadIdx.x;
  if (split == 0) {
    running.top = top;
    running.sum = sum;
  } else if (shared.visible[t] > 0) {
    const float highest = nan_max(running.top, top);
    const float before = exp32(__fsub_rn(running.top, highest)), after = exp32(__fsub_rn(top, highest));
    running.sum = __fmaf_rn(sum, after, __fmul_rn(running.sum, before));
    running.top = highest;
    shared.before[t] = before;
    shared.after[t] = after;
  }
}

// update(i, c, o[i][c] and o[i][c + 1]) gives what becomes of two neighbouring outputs of this thread in `out`, where O
// lies between two splits: there is no room for it in registers, and it is needed seldom. A few are loaded at a time,
// so that they do not wait for one another. `empty`: there is nothing yet. WHOLE: every query and every column exists.
template <int D, bool WHOLE, class Update>
__device__ __forceinline__ void update_outputs(float* out, const PrefillShared& shared, int head_dim, bool empty,
                                               const Update& update) {
  const Place place = place_of_thread();
  const int count = 4 / D;
#pragma unroll
  for (int first = 0; first < QUERIES; first += count) {
    float2 pair[count][4 * D];
#pragma unroll
    for (int i = 0; i < count; i++) {
      const int head = shared.head[place.query(first + i)];
      const float* row = out + (long long)head * head_dim + place.column(0, 32 * D);
#pragma unroll
      for (int u = 0; u < 4 * D; u++) {
        pair[i][u] = make_float2(0.0f, 0.0f);
        if (!empty && (WHOLE || (head >= 0 && place.column(2 * u, 32 * D) < head_dim)))
          pair[i][u] = *reinterpret_cast<const float2*>(row + (2 * u & 3) + (u >> 1) * 16);
      }
    }
#pragma unroll
    for (int i = 0; i < count; i++) {
      const int head = shared.head[place.query(first + i)];
      float* row = out + (long long)head * head_dim + place.column(0, 32 * D);
#pragma unroll
      for (int u = 0; u < 4 * D; u++)
        if (WHOLE || (head >= 0 && place.column(2 * u, 32 * D) < head_dim))
          *reinterpret_cast<float2*>(row + (2 * u & 3) + (u >> 1) * 16) = update(first + i, 2 * u, pair[i][u]);
    }
  }
}

// Combines o of a split with the splits before. WHOLE: also, every query sees a key of this split.
template <int D, bool WHOLE>
__device__ __forceinline__ void combine_values(float* out, const Folded<D>& folded, const PrefillShared& shared,
                                               int split, int head_dim) {
  const Place place = place_of_thread();
  update_outputs<D, WHOLE>(out, shared, head_dim, split == 0, [&](int i, int c, float2 carried) {
    const float x = folded.o[i][c], y = folded.o[i][c + 1];
    if (split == 0) return make_float2(x, y);
    const int query = place.query(i);
    if (!WHOLE && shared.visible[query] == 0) return carried;
    const float before = shared.before[query], after = shared.after[query];
    return make_float2(__fmaf_rn(x, after, __fmul_rn(carried.x, before)),
                       __fmaf_rn(y, after, __fmul_rn(carried.y, before)));
  });
}

// One split of `seen` keys for a tile of queries; `all` of them are seen by every query. keys, values: of the split.
template <class Cell, int D>
__device__ __forceinline__ void attend_tile_split(Running& running, PrefillShared& shared, float* out, const float* q,
                                                  const unsigned* keys, const unsigned* values, int split, int all,
                                                  int seen, int head_dim, float scale) {
  const int t = (int)threadIdx.x, row_words = head_dim / Packed<Cell>::PER_WORD;
  StagedValues<Cell, D> staged;
  float tops[QUERIES];
  score_tile<Cell, D>(shared, tops, keys, all, seen, q, head_dim, scale);
  staged.start(values, row_words, seen);
  staged.load(row_words);
  const float top = exponentiate_tile(shared, tops, seen > HALF ? 2 * KEYS : KEYS);
  staged.store(shared.values[0]);
  __syncthreads();  // the p_j and the first slice are there
  Folded<D> folded;
  folded.sum = 0.0f;
#pragma unroll
  for (int i = 0; i < QUERIES; i++)
#pragma unroll
    for (int c = 0; c < 8 * D; c++) folded.o[i][c] = 0.0f;
  for (int base = 0, buffer = 0; base < seen; base += staged.ROWS, buffer ^= 1) {
    const bool more = base + staged.ROWS < seen;
    if (more) staged.load(row_words);
    fold_slice<D, StagedValues<Cell, D>::ROWS>(folded, shared, shared.values[buffer], base, all, seen);
    if (more) {
      staged.store(shared.values[buffer ^ 1]);
      __syncthreads();  // the slice is used up, the next is there
    }
  }
  if (t < TILE) combine_sums(running, shared, split, top, folded.sum);
  __syncthreads();  // `before` and `after` are there
  if (all > 0 && head_dim == 128 * D && shared.head[TILE - 1] >= 0)
    combine_values<D, true>(out, folded, shared, split, head_dim);
  else
    combine_values<D, false>(out, folded, shared, split, head_dim);
  __syncthreads();  // shared memory is written again for the next split
}

// All splits for the tile of queries that starts at n0.
template <class Cell, int D>
__device__ __forceinline__ void attend_tile(PrefillShared& shared, float* out, const float* q, const Cell* keys,
                                            const Cell* values, int start, const Step& step, float scale, int kv_head,
                                            int n0) {
  const int t = (int)threadIdx.x, head_dim = step.head_dim, n_last = min(n0 + TILE, step.queries()) - 1;
  if (t < TILE) shared.head[t] = n0 + t <= n_last ? (int)step.head_of(n0 + t, kv_head) : -1;
  Running running = {0.0f, 0.0f};
  for (int split = 0; step.visible(n_last, start, split * SPLIT) > 0; split++) {
    const int first = split * SPLIT;
    if (t < TILE) shared.visible[t] = step.visible(n0 + t, start, first);
    __syncthreads();  // `head` and `visible` are there
    attend_tile_split<Cell, D>(running, shared, out, q, cache_words(keys, step, kv_head, first),
                               cache_words(values, step, kv_head, first), split, step.visible(n0, start, first),
                               step.visible(n_last, start, first), head_dim, scale);
  }
  if (t < TILE) shared.before[t] = running.sum;
  __syncthreads();
  const Place place = place_of_thread();
  update_outputs<D, false>(out, shared, head_dim, false, [&](int i, int, float2 carried) {  // out_d = O_d / L
    const float sum = shared.before[place.query(i)];
    return make_float2(__fdiv_rn(carried.x, sum), __fdiv_rn(carried.y, sum));
  });
  __syncthreads();  // shared memory is written again for the next item
}

// Which item comes n-th. The longest come first; of every second round of one item for each multiprocessor the shorter
// ones, so that a multiprocessor with a long one in a round gets a short one in the next.
__device__ __forceinline__ int item_in_turn(int n, int items, int at_once) {
  const int round = n / at_once, first = round * at_once;
  return round % 2 ? first + min(first + at_once, items) - 1 - n : n;
}

// All work items of attention_prefill; D: how many times 128 values a head may have.
template <class Cell, int D>
__device__ __forceinline__ void attend_tiles(PrefillShared& shared, float* out, const float* q, const Cell* keys,
                                             const Cell* values, const int* position, const Step& step, float scale,
                                             int at_once) {
  pdl_launch_dependents();
  pdl_wait();
  const int start = position[0], tiles = (step.queries() + TILE - 1) / TILE;
  const int items = step.kv_heads * tiles;
  for (int n = (int)blockIdx.x; n < items; n += (int)gridDim.x) {
    const int item = item_in_turn(n, items, at_once);
    attend_tile<Cell, D>(shared, out, q, keys, values, start, step, scale, item % step.kv_heads,
                         (tiles - 1 - item / step.kv_heads) * TILE);
  }
}
