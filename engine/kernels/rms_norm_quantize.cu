// rms_norm, then quantize, of each row.
// Formula:  NUMERICS 4, then 5
// Grid:     one item per row; 256 threads.
// Order:    thread t folds x_t, x_(t+256), ...; a tree within each warp; the 8 warps from the left. None in quantize.
// Rounding: that of rms_norm, then that of quantize.
// Traffic:  x and weight once; codes, scales and sums once, pads included.
#include "canon.cuh"

static const int CHAINS = 256, HELD = 16;  // values of x that a thread keeps; those past them are read again

// codes: (rows, padded); scales, sums: (rows, padded / 32); x: (rows, dim); weight: (dim,). dim is a multiple of 32,
// padded of 128; what lies past dim becomes zero.
extern "C" __global__ void __launch_bounds__(256, 1)
rms_norm_quantize(signed char* codes, float* scales, float* sums, const float* x, const float* weight, int rows, int dim,
                  int padded, float eps) {
  __shared__ float groups[CHAINS / 32];
  const int t = (int)threadIdx.x, lane = t & 31, warp = t >> 5;
  float gain[HELD];  // a weight, so it may come before the wait
#pragma unroll
  for (int u = 0; u < HELD; u++) {
    gain[u] = 0.0f;
    if (u * CHAINS + t < dim) gain[u] = weight[u * CHAINS + t];
  }
  pdl_launch_dependents();
  pdl_wait();
  for (int row = (int)blockIdx.x; row < rows; row += (int)gridDim.x) {
    const float* in = x + (long long)row * dim;
    float held[HELD];
#pragma unroll
    for (int u = 0; u < HELD; u++) {
      held[u] = 0.0f;
      if (u * CHAINS + t < dim) held[u] = in[u * CHAINS + t];
    }
    float chain = 0.0f;
#pragma unroll
    for (int u = 0; u < HELD; u++)
      if (u * CHAINS + t < dim) chain = __fmaf_rn(held[u], held[u], chain);
    for (int i = HELD * CHAINS + t; i < dim; i += CHAINS) chain = __fmaf_rn(in[i], in[i], chain);
    const float group = warp_sum(chain);
    if (lane == 0) groups[warp] = group;
    __syncthreads();
    float sum = groups[0];
#pragma unroll
    for (int w = 1; w < CHAINS / 32; w++) sum = __fadd_rn(sum, groups[w]);
    const float mean = __fdiv_rn(sum, __int2float_rn(dim));
    const float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
    // A warp holds whole blocks of 32: dim is a multiple of 32, and so every lane takes part or none.
    const auto put = [&](int i, float value) {
      const QuantizedValue q = quantize_value(value);
      codes[(long long)row * padded + i] = q.code;
      if (lane == 0) {
        const long long block = (long long)row * (padded >> 5) + (i >> 5);
        scales[block] = q.scale;
        sums[block] = q.sum;
      }
    };
#pragma unroll
    for (int u = 0; u < HELD; u++)
      if (u * CHAINS + t < padded)
        put(u * CHAINS + t, u * CHAINS + t < dim ? __fmul_rn(__fmul_rn(held[u], scale), gain[u]) : 0.0f);
    for (int i = HELD * CHAINS + t; i < padded; i += CHAINS)
      put(i, i < dim ? __fmul_rn(__fmul_rn(in[i], scale), weight[i]) : 0.0f);
    __syncthreads();  // groups is written again for the next row
  }
}
