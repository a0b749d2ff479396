// swiglu, then quantize, of each row.
// Formula:  NUMERICS 11, then 5
// Grid:     one item per 128 values of a row, a warp takes up to two at once; 8 warps per block.
// Order:    none.
// Rounding: that of swiglu, then that of quantize.
// Traffic:  gate and up once; codes, scales and sums once, pads included.
#include "canon.cuh"

static const int AHEAD = 2;  // items of a warp whose loads are on their way together

// codes: (rows, padded); scales, sums: (rows, padded / 32); gate, up: (rows, ff). ff is a multiple of 32, padded of 128;
// what lies past ff becomes zero.
extern "C" __global__ void __launch_bounds__(256)
swiglu_quantize(signed char* codes, float* scales, float* sums, const float* gate, const float* up, int rows, int ff,
                int padded) {
  const int lane = (int)threadIdx.x & 31, warps = (int)blockDim.x >> 5, per_row = padded >> 7, items = rows * per_row;
  pdl_launch_dependents();
  pdl_wait();
  const int stride = (int)gridDim.x * warps;
  for (int first = (int)(blockIdx.x * warps + (threadIdx.x >> 5)); first < items; first += AHEAD * stride) {
    float4 gates[AHEAD], ups[AHEAD];
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      const int item = first + u * stride, col = item % per_row * 128 + 4 * lane;
      gates[u] = ups[u] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      if (item < items && col < ff) {
        const long long at = (long long)(item / per_row) * ff + col;
        gates[u] = *reinterpret_cast<const float4*>(gate + at);
        ups[u] = *reinterpret_cast<const float4*>(up + at);
      }
    }
#pragma unroll
    for (int u = 0; u < AHEAD; u++) {
      const int item = first + u * stride, col = item % per_row * 128 + 4 * lane;
      if (item >= items) break;
      const long long row = item / per_row;
      const float4 &g = gates[u], &f = ups[u];
      const QuantizedPart part =
          quantize_block(make_float4(gated(g.x, f.x), gated(g.y, f.y), gated(g.z, f.z), gated(g.w, f.w)));
      *reinterpret_cast<char4*>(codes + row * padded + col) = part.codes;
      if ((lane & 7) == 0) {
        const long long block = row * (padded >> 5) + (col >> 5);
        scales[block] = part.scale;
        sums[block] = part.sum;
      }
    }
  }
}
