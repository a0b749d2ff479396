// Scales each row to unit root mean square, then by weight.
// Formula:  NUMERICS 4: y_i = x_i * weight_i * (1 / sqrt(mean of x^2 + eps))
// Grid:     one item per row; 256 threads.
// Order:    a tree over the squares of each block of 32; chain l adds blocks l, l+32, ...; a tree over the 32 chains.
// Rounding: every square and operation of the sum, mean, sum with eps, root, reciprocal; two products per element.
// Traffic:  x twice (the second time from cache), weight once, y once.
#include "canon.cuh"

static const int THREADS = 256, CHAINS = 32;

// y, x: (rows, dim), y may be x; weight: (dim,)
extern "C" __global__ void __launch_bounds__(THREADS)
rms_norm(float* y, const float* x, const float* weight, int rows, int dim, float eps) {
  __shared__ float chains[CHAINS];
  const int t = (int)threadIdx.x, lane = t & 31, warp = t >> 5;
  pdl_launch_dependents();
  pdl_wait();
  for (int row = (int)blockIdx.x; row < rows; row += (int)gridDim.x) {
    const float* in = x + (long long)row * dim;
    float* out = y + (long long)row * dim;
#pragma unroll
    for (int l = warp; l < CHAINS; l += THREADS / 32) {
      float chain = 0.0f;
#pragma unroll 4
      for (int first = 32 * l; first < dim; first += 32 * CHAINS) {
        const float value = first + lane < dim ? in[first + lane] : 0.0f;
        chain = __fadd_rn(chain, warp_sum(__fmul_rn(value, value)));
      }
      if (lane == 0) chains[l] = chain;
    }
    __syncthreads();
    const float scale = norm_scale(chains, CHAINS, dim, eps);  // a chain is as good as a block: +0 and it is it
#pragma unroll 4
    for (int i = t; i < dim; i += THREADS) out[i] = __fmul_rn(__fmul_rn(in[i], weight[i]), scale);
    __syncthreads();  // chains is written again for the next row
  }
}
