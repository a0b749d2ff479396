// qk_norm and rope of the queries and keys of a few rows; the keys and their values go into the cache.
// Formula:  NUMERICS 4 with 32 chains, 8 and 9
// Grid:     one item per head of q, of k and of v of a row, one warp each; 8 warps per block.
// Order:    lane l folds x_l, x_(l+32), ...; a tree over the lanes.
// Rounding: those of qk_norm and rope; once into a float16 cache.
// Traffic:  q once each way, k and v once, as many cache cells once; weights and one row of each table per row, from cache.
#include "canon.cuh"

static const int LARGEST_HEAD = 256, WARPS = 8;

__device__ __forceinline__ void store(float* cell, float value) { *cell = value; }
__device__ __forceinline__ void store(unsigned short* cell, float value) { *cell = float_to_half(value); }

// What turns heads: weights (head_dim,), cos and sin (positions, pairs), position (1,), that of row 0.
struct Turn {
  const float *q_weight, *k_weight, *cos, *sin;
  const int* position;
  int rows, heads, kv_heads, head_dim, context, pairs;
  float eps;
};

// One warp: to[i] is value i of a head after qk_norm and rope. `to` may be `in`. normed: room for a head.
template <class Cell>
__device__ __forceinline__ void turn_head(const Turn& turn, float* normed, Cell* to, const float* in, const float* weight,
                                          int place) {
  const int lane = threadIdx.x % 32;
  const float *cos = turn.cos + (long long)place * turn.pairs, *sin = turn.sin + (long long)place * turn.pairs;
  float chain = 0.0f;
  for (int i = lane; i < turn.head_dim; i += 32) {
    normed[i] = in[i];
    chain = __fmaf_rn(normed[i], normed[i], chain);
  }
  const float mean = __fdiv_rn(warp_sum(chain), __int2float_rn(turn.head_dim));
  const float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, turn.eps)));
  for (int i = lane; i < turn.head_dim; i += 32) normed[i] = __fmul_rn(__fmul_rn(normed[i], scale), weight[i]);
  __syncwarp();
  for (int i = lane; i < turn.pairs; i += 32) {
    const float a = normed[i], b = normed[i + turn.pairs];
    store(to + i, __fmaf_rn(a, cos[i], -__fmul_rn(b, sin[i])));
    store(to + i + turn.pairs, __fmaf_rn(b, cos[i], __fmul_rn(a, sin[i])));
  }
  for (int i = 2 * turn.pairs + lane; i < turn.head_dim; i += 32) store(to + i, normed[i]);
  __syncwarp();  // `normed` is used up
}

template <class Cell>
__device__ __forceinline__ void heads_append(float* q, Cell* keys, Cell* values, const float* k, const float* v,
                                             const Turn& turn) {
  __shared__ float normed[WARPS][LARGEST_HEAD];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int of_row = turn.heads + 2 * turn.kv_heads, items = turn.rows * of_row;
  pdl_launch_dependents();
  pdl_wait();
  const int first = turn.position[0];
  for (int item = blockIdx.x * WARPS + warp; item < items; item += gridDim.x * WARPS) {
    const int row = item / of_row, place = first + row, head = item % of_row - turn.heads;  // of q below zero
    if (place < 0 || place >= turn.context) continue;
    if (head < 0) {
      float* query = q + ((long long)row * turn.heads + head + turn.heads) * turn.head_dim;
      turn_head(turn, normed[warp], query, query, turn.q_weight, place);
      continue;
    }
    const int key_head = head % turn.kv_heads;
    const long long from = ((long long)row * turn.kv_heads + key_head) * turn.head_dim;
    const long long cell = ((long long)key_head * turn.context + place) * turn.head_dim;
    if (head < turn.kv_heads) turn_head(turn, normed[warp], keys + cell, k + from, turn.k_weight, place);
    else
      for (int i = lane; i < turn.head_dim; i += 32) store(values + cell + i, v[from + i]);
  }
}

// q: (rows, heads, head_dim), in place; keys, values: (kv_heads, context, head_dim), float32 or float16 by its bits; k, v:
// (rows, kv_heads, head_dim). 2 * pairs <= head_dim <= LARGEST_HEAD, positions >= context. Rows past the capacity are
// left alone.
#define HEADS_APPEND(kind, Cell)                                                                                      \
  extern "C" __global__ void __launch_bounds__(32 * WARPS)                                                            \
  heads_append_##kind(float* q, Cell* keys, Cell* values, const float* k, const float* v, const float* q_weight,      \
                      const float* k_weight, const float* cos, const float* sin, const int* position, int rows,       \
                      int heads, int kv_heads, int head_dim, int context, int pairs, float eps) {                     \
    heads_append(q, keys, values, k, v, Turn{q_weight, k_weight, cos, sin, position, rows, heads, kv_heads, head_dim, \
                                             context, pairs, eps});                                                   \
  }
HEADS_APPEND(f32, float)
HEADS_APPEND(f16, unsigned short)
