// The attention part of a step of one row: from q, k and v to the input of the output projection, in one launch.
// Formula:  NUMERICS 4 with 32 chains, 8 and 9 for the heads of the step, then 10, then 5
// Grid:     one item per split of 256 keys, key head and up to 4 of its queries, or per split and query while those are
//           few; 256 threads. Only splits with a visible key: the position is read on the device.
// Order:    s_j over d, l and o_d over j, splits: all ascending, each chain in one thread. The last block to arrive
//           combines, whichever it is.
// Rounding: that of qk_norm, rope, kv_append, attention and quantize.
// Traffic:  visible keys and values once per tile of queries; if there is more than one split, head_dim + 2 floats per
//           query and split once each way; q once per split, k, v, a row of each table and the results once.
#include "step_combine.cuh"

static_assert(sizeof(StepShared) == 88224, "engine/ops/attention_step.py asks for it");

// Items of a step at `position`, of `room` queries each, and one of them.
__device__ __forceinline__ int tiles_of(int room, const StepSizes& n) {
  return room == 1 ? n.group : (n.group + MOST_QUERIES - 1) / MOST_QUERIES;
}
__device__ __forceinline__ int item_count(int room, int position, const StepSizes& n) {
  return n.kv_heads * tiles_of(room, n) * (position / SPLIT + 1);
}
__device__ __forceinline__ StepItem item_at(int at, int room, int position, const StepSizes& n) {
  const int tiles = tiles_of(room, n), split = at / (n.kv_heads * tiles), within = at - split * (n.kv_heads * tiles);
  const int kv_head = within / tiles, tile = within - kv_head * tiles, rest = position - split * SPLIT;
  return {kv_head * n.group + tile * room, min(room, n.group - tile * room), room, kv_head, split * SPLIT,
          min(rest, SPLIT), rest < SPLIT};
}

// Asks, ahead of the wait, for what the first item of this block is likely to read, in `most` blocks at most. It comes
// into L2, where all writes meet, and no further.
template <class Cell>
__device__ __forceinline__ void ask_early(const NewHeads& in, const Cell* keys, const Cell* values, const int* position,
                                          const StepSizes& n, int most) {
  const int now = glance(position), at = (int)blockIdx.x;
  if (now < 0 || now >= n.context || at >= min(item_count(MOST_QUERIES, now, n), most)) return;
  const StepItem item = item_at(at, MOST_QUERIES, now, n);
  const long long cell = ((long long)item.kv_head * n.context + item.first) * n.head_dim;
  const long long turn = (long long)now * n.pairs;
  const auto ask = [](const void* from, int bytes) {
    if (bytes > 0) prefetch_l2(reinterpret_cast<const unsigned char*>(from), (unsigned)bytes);
  };
  switch ((int)threadIdx.x) {
    case 0: return ask(keys + cell, item.cached * n.head_dim * (int)sizeof(Cell));
    case 32: return ask(values + cell, item.cached * n.head_dim * (int)sizeof(Cell));
    case 64: return ask(in.cos + turn / 4 * 4, n.pairs * 4 / 16 * 16);
    case 96: return ask(in.sin + turn / 4 * 4, n.pairs * 4 / 16 * 16);
    case 128: return ask(in.q_weight, n.head_dim * 4);
    case 160: return ask(in.k_weight, n.head_dim * 4);
  }
}

// All items of a step, walked with a grid stride: of a query each if there are up to `narrow` of them.
template <class Cell, int WIDEST>
__device__ __forceinline__ void step(const NewHeads& in, Cell* keys, Cell* values, const StepScratch& scratch,
                                     const StepOutputs& to, const int* position, const StepSizes& n, float scale,
                                     int narrow) {
  DYN_SHARED(StepShared, shared);
  pdl_launch_dependents();
  ask_early(in, keys, values, position, n, narrow);
  pdl_wait();
  const int now = position[0];
  if (now < 0 || now >= n.context) return;
  const int room = item_count(1, now, n) <= narrow ? 1 : MOST_QUERIES;
#pragma unroll 1
  for (int at = (int)blockIdx.x; at < item_count(room, now, n); at += (int)gridDim.x) {
    const StepItem item = item_at(at, room, now, n);
    const Attended found = attend_split<Cell, WIDEST>(*shared, in, keys, values, now, n, item, scale);
    finish_split(*shared, found, scratch, to, n, item, now / SPLIT + 1);
    __syncthreads();  // shared memory is written again for the next item
  }
}

// out: (heads, head_dim) or null; codes: (padded,), scales, sums: (padded / 32,) or null, what lies past the heads
// becomes zero; keys, values: (kv_heads, context, head_dim), the cells of this position are written; o, m, l, arrivals:
// as StepScratch; q, k, v, weights and tables: as NewHeads; position: (1,). head_dim is a multiple of 32. A position
// outside the context is passed over. _128, _256: the widest head.
extern "C" __global__ void __launch_bounds__(STEP_THREADS, 2)
attention_step_f32_128(float* out, signed char* codes, float* scales, float* sums, float* keys, float* values, float* o,
                       float* m, float* l, unsigned* arrivals, const float* q, const float* k, const float* v,
                       const float* q_weight, const float* k_weight, const float* cos, const float* sin,
                       const int* position, int heads, int kv_heads, int group, int head_dim, int context, int pairs,
                       int padded, float eps, float scale, int narrow) {
  step<float, 128>(NewHeads{q, k, v, q_weight, k_weight, cos, sin, eps}, keys, values,
                   StepScratch{o, m, l, arrivals}, StepOutputs{out, codes, scales, sums, padded}, position,
                   StepSizes{heads, kv_heads, group, head_dim, context, pairs}, scale, narrow);
}
extern "C" __global__ void __launch_bounds__(STEP_THREADS, 1)
attention_step_f32_256(float* out, signed char* codes, float* scales, float* sums, float* keys, float* values, float* o,
                       float* m, float* l, unsigned* arrivals, const float* q, const float* k, const float* v,
                       const float* q_weight, const float* k_weight, const float* cos, const float* sin,
                       const int* position, int heads, int kv_heads, int group, int head_dim, int context, int pairs,
                       int padded, float eps, float scale, int narrow) {
  step<float, 256>(NewHeads{q, k, v, q_weight, k_weight, cos, sin, eps}, keys, values,
                   StepScratch{o, m, l, arrivals}, StepOutputs{out, codes, scales, sums, padded}, position,
                   StepSizes{heads, kv_heads, group, head_dim, context, pairs}, scale, narrow);
}
extern "C" __global__ void __launch_bounds__(STEP_THREADS, 2)
attention_step_f16_128(float* out, signed char* codes, float* scales, float* sums, unsigned short* keys,
                       unsigned short* values, float* o, float* m, float* l, unsigned* arrivals, const float* q,
                       const float* k, const float* v, const float* q_weight, const float* k_weight, const float* cos,
                       const float* sin, const int* position, int heads, int kv_heads, int group, int head_dim,
                       int context, int pairs, int padded, float eps, float scale, int narrow) {
  step<unsigned short, 128>(NewHeads{q, k, v, q_weight, k_weight, cos, sin, eps}, keys, values,
                            StepScratch{o, m, l, arrivals}, StepOutputs{out, codes, scales, sums, padded}, position,
                            StepSizes{heads, kv_heads, group, head_dim, context, pairs}, scale, narrow);
}
extern "C" __global__ void __launch_bounds__(STEP_THREADS, 1)
attention_step_f16_256(float* out, signed char* codes, float* scales, float* sums, unsigned short* keys,
                       unsigned short* values, float* o, float* m, float* l, unsigned* arrivals, const float* q,
                       const float* k, const float* v, const float* q_weight, const float* k_weight, const float* cos,
                       const float* sin, const int* position, int heads, int kv_heads, int group, int head_dim,
                       int context, int pairs, int padded, float eps, float scale, int narrow) {
  step<unsigned short, 256>(NewHeads{q, k, v, q_weight, k_weight, cos, sin, eps}, keys, values,
                            StepScratch{o, m, l, arrivals}, StepOutputs{out, codes, scales, sums, padded}, position,
                            StepSizes{heads, kv_heads, group, head_dim, context, pairs}, scale, narrow);
}
