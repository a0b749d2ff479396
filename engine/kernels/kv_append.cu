// Stores the keys and values of this step in the cache.
// Formula:  NUMERICS 9
// Grid:     one item per key head of a row, one warp each; 8 warps per block.
// Order:    none.
// Rounding: none into float32, once into float16.
// Traffic:  k and v once, as many cache cells once.
#include "canon.cuh"

__device__ __forceinline__ void store(float* cell, float value) { *cell = value; }
__device__ __forceinline__ void store(unsigned short* cell, float value) { *cell = float_to_half(value); }

template <class Cell>
__device__ __forceinline__ void append(Cell* keys, Cell* values, const float* k, const float* v, const int* position,
                                       int rows, int kv_heads, int head_dim, int context) {
  const int lane = (int)threadIdx.x & 31, warps = (int)blockDim.x >> 5;
  const int items = rows * kv_heads;
  pdl_launch_dependents();
  pdl_wait();
  const int first = position[0];
  for (int item = (int)(blockIdx.x * warps + (threadIdx.x >> 5)); item < items; item += (int)gridDim.x * warps) {
    const int place = first + item / kv_heads;
    if (place < 0 || place >= context) continue;
    const long long cell = ((long long)(item % kv_heads) * context + place) * head_dim;
    const long long from = (long long)item * head_dim;
    for (int i = lane; i < head_dim; i += 32) {
      store(keys + cell + i, k[from + i]);
      store(values + cell + i, v[from + i]);
    }
  }
}

// keys, values: (kv_heads, context, head_dim); k, v: (rows, kv_heads, head_dim); position: (1,), that of row 0.
// Rows past the capacity are not written.
extern "C" __global__ void __launch_bounds__(256)
kv_append_f32(float* keys, float* values, const float* k, const float* v, const int* position, int rows, int kv_heads,
              int head_dim, int context) {
  append(keys, values, k, v, position, rows, kv_heads, head_dim, context);
}

// The same into float16, by its bits.
extern "C" __global__ void __launch_bounds__(256)
kv_append_f16(unsigned short* keys, unsigned short* values, const float* k, const float* v, const int* position,
              int rows, int kv_heads, int head_dim, int context) {
  append(keys, values, k, v, position, rows, kv_heads, head_dim, context);
}
