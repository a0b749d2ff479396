// Scales each row to unit root mean square, then by weight.
// Formula:  NUMERICS 4: y_i = x_i * (1 / sqrt(mean of x^2 + eps)) * weight_i
// Grid:     one item per row; 256 threads.
// Order:    thread t folds x_t, x_(t+256), ...; a tree within each warp; the 8 warps from the left.
// Rounding: every operation of the sum, mean, sum with eps, root, reciprocal; two products per element.
// Traffic:  x twice (the second time from cache), weight once, y once.
#include "canon.cuh"

static const int CHAINS = 256;

// y, x: (rows, dim), y may be x; weight: (dim,)
extern "C" __global__ void __launch_bounds__(256)
rms_norm(float* y, const float* x, const float* weight, int rows, int dim, float eps) {
  __shared__ float groups[CHAINS / 32];
  const int t = (int)threadIdx.x;
  pdl_launch_dependents();
  pdl_wait();
  for (int row = (int)blockIdx.x; row < rows; row += (int)gridDim.x) {
    const float* in = x + (long long)row * dim;
    float* out = y + (long long)row * dim;
    float chain = 0.0f;
#pragma unroll 4
    for (int i = t; i < dim; i += CHAINS) chain = __fmaf_rn(in[i], in[i], chain);
    const float group = warp_sum(chain);
    if ((t & 31) == 0) groups[t >> 5] = group;
    __syncthreads();
    float sum = groups[0];
    for (int w = 1; w < CHAINS / 32; w++) sum = __fadd_rn(sum, groups[w]);
    const float mean = __fdiv_rn(sum, __int2float_rn(dim));
    const float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
#pragma unroll 4
    for (int i = t; i < dim; i += CHAINS) out[i] = __fmul_rn(__fmul_rn(in[i], scale), weight[i]);
    __syncthreads();  // groups is written again for the next row
  }
}
