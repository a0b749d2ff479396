// The splits of attention combined, then quantize.
// Formula:  NUMERICS 10 (after attention_split), then 5
// Grid:     one item per head of a row, a thread per value of a head.
// Order:    splits ascending, each chain in one thread; none in quantize.
// Rounding: that of attention, then that of quantize.
// Traffic:  head_dim + 2 floats per query and split once; codes, scales and sums once, pads included.
#include "attention_combine.cuh"

// codes: (rows, padded), scales, sums: (rows, padded / 32), what lies past heads * head_dim becomes zero; o, m, l as
// attention_split leaves them. head_dim is a multiple of 32 and the number of threads.
extern "C" __global__ void __launch_bounds__(256)
attention_combine_quantize(signed char* codes, float* scales, float* sums, const float* o, const float* m, const float* l,
                           const int* position, int rows, int heads, int head_dim, int context, int padded) {
  __shared__ CombineShared shared;
  combine(shared, o, m, l, position, rows * heads, heads, head_dim, context, [&](int item, float value) {
    const int t = (int)threadIdx.x, cols = heads * head_dim;
    const long long row = item / heads;
    const auto put = [&](int col, const QuantizedValue& q) {
      codes[row * padded + col] = q.code;
      if ((t & 31) == 0) {
        scales[row * (padded >> 5) + (col >> 5)] = q.scale;
        sums[row * (padded >> 5) + (col >> 5)] = q.sum;
      }
    };
    put(item % heads * head_dim + t, quantize_value(value));
    if (item % heads == heads - 1)
      for (int col = cols + t; col < padded; col += head_dim) put(col, QuantizedValue{0, 0.0f, 0.0f});
  });
}
