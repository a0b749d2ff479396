// Scales each head of each row to unit root mean square, then by weight.
// Formula:  NUMERICS 4: y_i = x_i * (1 / sqrt(mean of x^2 + eps)) * weight_i
// Grid:     one item per head of a row, one warp each; 8 warps per block.
// Order:    lane l folds x_l, x_(l+32), ...; a tree over the lanes.
// Rounding: every operation of the sum, mean, sum with eps, root, reciprocal; two products per element.
// Traffic:  x twice (the second time from cache), weight from cache, y once.
#include "canon.cuh"

// y, x: (rows * heads, head_dim), y may be x; weight: (head_dim,)
extern "C" __global__ void __launch_bounds__(256)
qk_norm(float* y, const float* x, const float* weight, int rows, int heads, int head_dim, float eps) {
  const int lane = (int)threadIdx.x & 31, warps = (int)blockDim.x >> 5;
  const int items = rows * heads;
  pdl_launch_dependents();
  pdl_wait();
  for (int item = (int)(blockIdx.x * warps + (threadIdx.x >> 5)); item < items; item += (int)gridDim.x * warps) {
    const float* in = x + (long long)item * head_dim;
    float* out = y + (long long)item * head_dim;
    float chain = 0.0f;
    for (int i = lane; i < head_dim; i += 32) chain = __fmaf_rn(in[i], in[i], chain);
    const float mean = __fdiv_rn(warp_sum(chain), __int2float_rn(head_dim));
    const float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
    for (int i = lane; i < head_dim; i += 32) out[i] = __fmul_rn(__fmul_rn(in[i], scale), weight[i]);
  }
}
