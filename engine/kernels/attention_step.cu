// The attention part of a step of one row: from q, k and v to the input of the output projection, in one launch.
// Formula:  NUMERICS 4 (qk_norm), 8 and 9 for the heads of the step, then 10, then 5
// Grid:     one item per split of 256 keys, key head and up to 4 of its queries, or per split and query while those are
//           few; 256 threads. Only splits with a visible key: the position is read on the device.
// Overlap:  position, tables, weights and the cells of earlier positions are settled (the embedding of a pass sees to
//           it): they are asked for before the launch in front has ended.
// Order:    s_j over d, l and o_d over j, splits: all ascending, each chain in one thread. The last block to arrive
//           combines, whichever it is.
// Rounding: that of qk_norm, rope, kv_append, attention and quantize.
// Traffic:  visible keys and values once per tile of queries; if there is more than one split, head_dim + 2 floats per
//           query and split once each way; q once per block, k, v, a row of each table and the results once.
#include "step_combine.cuh"

static_assert(sizeof(StepShared) == 15520 && 16 * STAGE_PIECES == 16384, "engine/ops/attention_step.py asks for them");

// What a launch computes with.
template <class Cell> struct StepAttention {
  NewHeads in;
  Cell *keys, *values;
  StepScratch scratch;
  StepOutputs to;
  StepSizes n;
  float scale;
};

// Items of M queries of a step at `position`, and one of them.
template <int M> __device__ __forceinline__ int tiles_of(const StepSizes& n) { return (n.group + M - 1) / M; }
template <int M> __device__ __forceinline__ int item_count(int position, const StepSizes& n) {
  return n.kv_heads * tiles_of<M>(n) * (position / SPLIT + 1);
}
template <int M> __device__ __forceinline__ StepItem item_at(int at, int position, const StepSizes& n) {
  const int tiles = tiles_of<M>(n), split = at / (n.kv_heads * tiles), within = at - split * (n.kv_heads * tiles);
  const int kv_head = within / tiles, tile = within - kv_head * tiles, rest = position - split * SPLIT;
  return {kv_head * n.group + tile * M, min(M, n.group - tile * M), kv_head, split * SPLIT, min(rest, SPLIT),
          rest < SPLIT};
}

// All items of M queries, as many at a time as there are blocks. All threads execute pdl_wait. Where that leads from split
// to split of the same queries, these stay in shared memory and their splits arrive together. Else blocks take turns back and
// forth: those that had the last split, which may be short, are the first to have another item.
template <class Cell, int WIDEST, int M, int STAGES>
__device__ __forceinline__ void attend(StepShared& shared, const StepAttention<Cell>& step, int position) {
  const StepSizes& n = step.n;
  const int items = item_count<M>(position, n), visited = position / SPLIT + 1, of_split = n.kv_heads * tiles_of<M>(n);
  int at = (int)blockIdx.x, end = (int)gridDim.x, put = 0;  // end: of the items that blocks are at
  const int stride = end < items && end % of_split == 0 ? end / of_split * SPLIT : 0;
  if (at >= items) return pdl_wait();
  StepItem item = item_at<M>(at, position, n);
  Chunks<Cell, WIDEST, STAGES> chunks =
      ask_first<Cell, WIDEST, STAGES>(shared, step.keys, step.values, n, item, stride, position);
  const HeadTurn<WIDEST> turn = turn_of_warp<WIDEST>(step.in, position, n);
  const float* head = head_of_warp(step.in, n, item);
  pdl_wait();
  bring_heads<Cell, WIDEST, M>(shared, head, turn, step.keys, step.values, position, n, item, step.in.eps);
#pragma unroll 1
  for (;;) {
    const Attended<M> found = attend_split<Cell, WIDEST, M, STAGES>(shared, chunks, n, item, step.scale);
    put_split<WIDEST, M>(shared, found, step.scratch, n, item, visited == 1);
    at = stride != 0 ? at + (int)gridDim.x : 2 * end - 1 - at;
    end += (int)gridDim.x, put++;
    const bool stays = stride != 0 && at < items;
    if (!stays) finish_queries<WIDEST, M>(shared, step.scratch, step.to, n, item, put, visited), put = 0;
    if (at >= items) return;
    item = item_at<M>(at, position, n);
    if (!stays || STAGES == WHOLE) {
      __syncthreads();  // stages are written again
      chunks = ask_first<Cell, WIDEST, STAGES>(shared, step.keys, step.values, n, item, stride, position);
    }
    if (stays && !item.fresh) continue;
    bring_heads<Cell, WIDEST, M>(shared, head_of_warp(step.in, n, item), turn_of_warp<WIDEST>(step.in, position, n),
                                 step.keys, step.values, position, n, item, step.in.eps);
  }
}

// Items of a query each if there are up to `narrow` of them.
template <class Cell, int WIDEST, int STAGES>
__device__ __forceinline__ void attend_at(const StepAttention<Cell>& step, const int* position, int narrow) {
  DYN_SHARED(StepShared, shared);
  pdl_launch_dependents();
  const int now = load_settled(position);
  if (now < 0 || now >= step.n.context) return pdl_wait();
  if (item_count<1>(now, step.n) <= narrow) attend<Cell, WIDEST, 1, STAGES>(*shared, step, now);
  else attend<Cell, WIDEST, MOST_QUERIES, STAGES>(*shared, step, now);
}

// out: (heads, head_dim) or null; codes: (padded,), scales, sums: (padded / 32,) or null, what lies past the heads
// becomes zero; keys, values: (kv_heads, context, head_dim), the cells of this position are written; o, m, l, arrivals:
// as StepScratch; q, k, v, weights and tables: as NewHeads; position: (1,). head_dim is a multiple of 32. A position
// outside the context is passed over. WIDEST: the widest head; BLOCKS: that a multiprocessor has registers for, if
// it has the shared memory.
#define ATTENTION_STEP(name, Cell, WIDEST, STAGES, BLOCKS)                                                       \
  extern "C" __global__ void __launch_bounds__(STEP_THREADS, LARGE_SHARED ? BLOCKS : 1)                          \
  attention_step_##name(float* out, signed char* codes, float* scales, float* sums, Cell* keys, Cell* values,    \
                        float* o, float* m, float* l, unsigned* arrivals, const float* q, const float* k,        \
                        const float* v, const float* q_weight, const float* k_weight, const float* cos,          \
                        const float* sin, const int* position, int heads, int kv_heads, int group, int head_dim, \
                        int context, int pairs, int padded, float eps, float scale, int narrow) {                \
    attend_at<Cell, WIDEST, STAGES>({{q, k, v, q_weight, k_weight, cos, sin, eps}, keys, values,                 \
                                     {o, m, l, arrivals}, {out, codes, scales, sums, padded},                    \
                                     {heads, kv_heads, group, head_dim, context, pairs}, scale}, position,       \
                                    narrow);                                                                     \
  }
ATTENTION_STEP(f32_128, float, 128, RING, 2)
ATTENTION_STEP(f32_256, float, 256, RING, 1)
ATTENTION_STEP(f16_128, unsigned short, 128, RING, 2)
ATTENTION_STEP(f16_128_whole, unsigned short, 128, WHOLE, 1)
ATTENTION_STEP(f16_256, unsigned short, 256, RING, 1)
