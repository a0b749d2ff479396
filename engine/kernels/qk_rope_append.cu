// qk_norm and rope of the queries and keys of this step, and kv_append of its keys and values.
// Formula:  NUMERICS 4 with 32 chains, then 8, then 9
// Grid:     one item per query head, key head or value head of a row, one warp each; 8 warps per block.
// Order:    lane l folds x_l, x_(l+32), ...; a tree over the lanes.
// Rounding: that of qk_norm, rope and kv_append.
// Traffic:  q once each way, k and v once, as many cache cells once; weights and a row of each table from cache.
#include "canon.cuh"

static const int LARGEST_HEAD = 256, HEAD_WARPS = 8;

__device__ __forceinline__ void store(float* cell, float value) { *cell = value; }
__device__ __forceinline__ void store(unsigned short* cell, float value) { *cell = float_to_half(value); }

struct Heads {
  int rows, heads, kv_heads, head_dim, context, pairs, positions;
};

// The head into `normed`, shared memory of this warp.
__device__ __forceinline__ void normalise(float* normed, const float* in, const float* weight, int head_dim, float eps) {
  const int lane = (int)threadIdx.x & 31;
  float chain = 0.0f;
#pragma unroll 4
  for (int i = lane; i < head_dim; i += 32) {
    const float value = in[i];
    normed[i] = value;
    chain = __fmaf_rn(value, value, chain);
  }
  const float mean = __fdiv_rn(warp_sum(chain), __int2float_rn(head_dim));
  const float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
#pragma unroll 4
  for (int i = lane; i < head_dim; i += 32) normed[i] = __fmul_rn(__fmul_rn(normed[i], scale), weight[i]);
  __syncwarp();
}

// Element i of the rotated head. `turn`: the place in the tables, negative for a row past them.
__device__ __forceinline__ float rotated(const float* head, const float* cos, const float* sin, long long turn, int pairs,
                                         int i) {
  const float x = head[i];
  if (turn < 0 || i >= 2 * pairs) return x;
  if (i < pairs) return __fmaf_rn(x, cos[turn + i], -__fmul_rn(head[i + pairs], sin[turn + i]));
  return __fmaf_rn(x, cos[turn + i - pairs], __fmul_rn(head[i - pairs], sin[turn + i - pairs]));
}

template <class Cell>
__device__ __forceinline__ void finish_heads(float (*normed)[LARGEST_HEAD], float* q, Cell* keys, Cell* values,
                                             const float* k, const float* v, const float* q_weight,
                                             const float* k_weight, const float* cos, const float* sin,
                                             const int* position, const Heads& n, float eps) {
  const int lane = (int)threadIdx.x & 31, warps = (int)blockDim.x >> 5;
  const int of_row = n.heads + 2 * n.kv_heads, items = n.rows * of_row;
  float* mine = normed[threadIdx.x >> 5];
  pdl_launch_dependents();
  pdl_wait();
  const int first = position[0];
  for (int base = (int)blockIdx.x * warps; base < items; base += (int)gridDim.x * warps) {
    const int item = base + (int)(threadIdx.x >> 5), row = item / of_row, head = item % of_row, place = first + row;
    const long long turn = place < 0 || place >= n.positions ? -1 : (long long)place * n.pairs;
    const bool kept = place >= 0 && place < n.context;
    if (item >= items) {
    } else if (head < n.heads) {
      float* in = q + ((long long)row * n.heads + head) * n.head_dim;
      normalise(mine, in, q_weight, n.head_dim, eps);
      for (int i = lane; i < n.head_dim; i += 32) in[i] = rotated(mine, cos, sin, turn, n.pairs, i);
    } else {
      const int kv_head = (head - n.heads) % n.kv_heads;
      const long long from = ((long long)row * n.kv_heads + kv_head) * n.head_dim;
      const long long cell = ((long long)kv_head * n.context + place) * n.head_dim;
      if (head < n.heads + n.kv_heads) {
        normalise(mine, k + from, k_weight, n.head_dim, eps);
        if (kept)
          for (int i = lane; i < n.head_dim; i += 32) store(keys + cell + i, rotated(mine, cos, sin, turn, n.pairs, i));
      } else if (kept) {
        for (int i = lane; i < n.head_dim; i += 32) store(values + cell + i, v[from + i]);
      }
    }
    __syncthreads();  // the shared heads are written again
  }
}

// q: (rows, heads, head_dim), in place; keys, values: (kv_heads, context, head_dim); k, v: (rows, kv_heads, head_dim);
// q_weight, k_weight: (head_dim,); cos, sin: (positions, pairs); position: (1,), that of row 0.
extern "C" __global__ void __launch_bounds__(256)
qk_rope_append_f32(float* q, float* keys, float* values, const float* k, const float* v, const float* q_weight,
                   const float* k_weight, const float* cos, const float* sin, const int* position, int rows, int heads,
                   int kv_heads, int head_dim, int context, int pairs, int positions, float eps) {
  __shared__ float normed[HEAD_WARPS][LARGEST_HEAD];
  finish_heads(normed, q, keys, values, k, v, q_weight, k_weight, cos, sin, position,
               Heads{rows, heads, kv_heads, head_dim, context, pairs, positions}, eps);
}

// The same into float16, by its bits.
extern "C" __global__ void __launch_bounds__(256)
qk_rope_append_f16(float* q, unsigned short* keys, unsigned short* values, const float* k, const float* v,
                   const float* q_weight, const float* k_weight, const float* cos, const float* sin,
                   const int* position, int rows, int heads, int kv_heads, int head_dim, int context, int pairs,
                   int positions, float eps) {
  __shared__ float normed[HEAD_WARPS][LARGEST_HEAD];
  finish_heads(normed, q, keys, values, k, v, q_weight, k_weight, cos, sin, position,
               Heads{rows, heads, kv_heads, head_dim, context, pairs, positions}, eps);
}
