// qk_norm and rope of new queries and keys; the keys and their values go into the cache.
// Formula:  NUMERICS 4 (qk_norm), 8 and 9
// Grid:     one item per head of q, of k and of v of a row, one warp each; 8 warps per block.
// Order:    lane l folds x_l, x_(l+32), ...; a tree over the lanes.
// Rounding: those of qk_norm and rope; once into a float16 cache.
// Traffic:  q once each way, k and v once, as many cache cells once; weights and one row of each table per row, from cache.
#include "turned_head.cuh"

static const int WARPS = 8;

// What turns heads: weights (head_dim,), cos and sin (positions, pairs), position (1,), that of row 0.
struct Turn {
  const float *q_weight, *k_weight, *cos, *sin;
  const int* position;
  int rows, heads, kv_heads, head_dim, context, pairs;
  float eps;
};

// One warp; `to` may be `in`. normed: room for a head.
template <int WIDEST, class Cell>
__device__ __forceinline__ void turned_head(const Turn& turn, float* normed, Cell* to, const float* in, const float* weight,
                                            int place) {
  const long long first = (long long)place * turn.pairs;
  const HeadTurn<WIDEST> head(weight, turn.cos + first, turn.sin + first, turn.head_dim, turn.pairs);
  float x[WIDEST / 32];
  load_head<WIDEST>(x, in, turn.head_dim);
  turn_head<WIDEST>(x, normed, head, turn.head_dim, turn.pairs, turn.eps);
#pragma unroll
  for (int u = 0; u < WIDEST / 32; u++) {
    const int i = (int)threadIdx.x % 32 + 32 * u;
    if (i < turn.head_dim) store(to + i, x[u]);
  }
  __syncwarp();  // `normed` is used up
}

template <int WIDEST, class Cell>
__device__ __forceinline__ void heads_append(float* q, Cell* keys, Cell* values, const float* k, const float* v,
                                             const Turn& turn) {
  __shared__ float normed[WARPS][WIDEST];
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
      turned_head<WIDEST>(turn, normed[warp], query, query, turn.q_weight, place);
      continue;
    }
    const int key_head = head % turn.kv_heads;
    const long long from = ((long long)row * turn.kv_heads + key_head) * turn.head_dim;
    const long long cell = ((long long)key_head * turn.context + place) * turn.head_dim;
    if (head < turn.kv_heads) turned_head<WIDEST>(turn, normed[warp], keys + cell, k + from, turn.k_weight, place);
    else
      for (int i = lane; i < turn.head_dim; i += 32) store(values + cell + i, v[from + i]);
  }
}

// q: (rows, heads, head_dim), in place; keys, values: (kv_heads, context, head_dim), float32 or float16 by its bits; k, v:
// (rows, kv_heads, head_dim). 2 * pairs <= head_dim <= widest, positions >= context. Rows past the capacity are left
// alone.
#define HEADS_APPEND(kind, Cell, widest)                                                                              \
  extern "C" __global__ void __launch_bounds__(32 * WARPS, 2)                                                         \
  heads_append_##kind##_##widest(float* q, Cell* keys, Cell* values, const float* k, const float* v,                  \
                                 const float* q_weight, const float* k_weight, const float* cos, const float* sin,    \
                                 const int* position, int rows, int heads, int kv_heads, int head_dim, int context,   \
                                 int pairs, float eps) {                                                              \
    heads_append<widest>(q, keys, values, k, v, Turn{q_weight, k_weight, cos, sin, position, rows, heads, kv_heads,   \
                                                     head_dim, context, pairs, eps});                                 \
  }
HEADS_APPEND(f32, float, 128)
HEADS_APPEND(f16, unsigned short, 128)
HEADS_APPEND(f32, float, 256)
HEADS_APPEND(f16, unsigned short, 256)
