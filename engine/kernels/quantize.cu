// Activations to 8 bits with one scale for 32.
// Formula:  NUMERICS 5
// Grid:     one item per 128 values of a row, a warp takes up to four at once; 8 warps per block.
// Order:    none: the maximum is one of bits, the sum one of integers.
// Rounding: scale, quotient and its rint, product of scale and sum of codes.
// Traffic:  x once; codes, scales and sums once, pads included.
#include "canon.cuh"

static const int AHEAD = 4;  // items of a warp whose loads are on their way together

// codes: (rows, padded); scales, sums: (rows, padded / 32); x: (rows, cols). cols is a multiple of 32, padded of 128;
// what lies past cols becomes zero.
extern "C" __global__ void __launch_bounds__(256)
quantize(signed char* codes, float* scales, float* sums, const float* x, int rows, int cols, int padded) {
  const int lane = (int)threadIdx.x & 31, warps = (int)blockDim.x >> 5, per_row = padded >> 7, items = rows * per_row;
  pdl_launch_dependents();
  pdl_wait();
  const int stride = (int)gridDim.x * warps;
  for (int first = (int)(blockIdx.x * warps + (threadIdx.x >> 5)); first < items; first += AHEAD * stride) {
    float4 values[AHEAD];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      const int item = first + u * stride, col = item % per_row * 128 + 4 * lane;
      values[u] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      if (item < items && col < cols)
        values[u] = *reinterpret_cast<const float4*>(x + (long long)(item / per_row) * cols + col);
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      const int item = first + u * stride, col = item % per_row * 128 + 4 * lane;
      if (item >= items) break;
      const long long row = item / per_row;
      const QuantizedPart part = quantize_block(values[u]);
      *reinterpret_cast<char4*>(codes + row * padded + col) = part.codes;
      if ((lane & 7) == 0) {
        const long long block = row * (padded >> 5) + (col >> 5);
        scales[block] = part.scale;
        sums[block] = part.sum;
      }
    }
  }
}
