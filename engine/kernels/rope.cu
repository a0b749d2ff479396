// Rotary position embedding, in place; the two elements of a pair lie half a rotation width apart.
// Formula:  NUMERICS 8
// Grid:     one item per head of a row, one warp each; 8 warps per block.
// Order:    none.
// Rounding: a product and an fmaf per element.
// Traffic:  x once each way; one row of each table per row, from cache.
#include "canon.cuh"

// x: (rows, heads, head_dim); cos, sin: (positions, pairs), 2 * pairs <= head_dim; position: (1,), that of row 0.
// Rows past the tables stay as they are.
extern "C" __global__ void __launch_bounds__(256)
rope(float* x, const float* cos, const float* sin, const int* position, int rows, int heads, int head_dim,
     int pairs, int positions) {
  const int lane = (int)threadIdx.x & 31, warps = (int)blockDim.x >> 5;
  const int items = rows * heads;
  pdl_launch_dependents();
  pdl_wait();
  const int first = position[0];
  for (int item = (int)(blockIdx.x * warps + (threadIdx.x >> 5)); item < items; item += (int)gridDim.x * warps) {
    const int place = first + item / heads;
    if (place < 0 || place >= positions) continue;
    const long long turn = (long long)place * pairs;
    float* head = x + (long long)item * head_dim;
    for (int i = lane; i < pairs; i += 32) {
      const float a = head[i], b = head[i + pairs];
      const float c = cos[turn + i], s = sin[turn + i];
      head[i] = __fmaf_rn(a, c, -__fmul_rn(b, s));
      head[i + pairs] = __fmaf_rn(b, c, __fmul_rn(a, s));
    }
  }
}
