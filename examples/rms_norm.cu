// A kernel of one's own for `zeroulp check-kernel examples/rms_norm.cu --op rms_norm --entry my_rms_norm`: equal to the
// oracle in every bit, because it adds in the order of NUMERICS 4. One block per row, 256 threads.
#include "portable.cuh"

extern "C" __global__ void my_rms_norm(float* out, const float* x, const float* weight, int rows, int dim, float eps) {
  __shared__ float groups[8];
  for (int row = blockIdx.x; row < rows; row += gridDim.x) {
    const float* in = x + (long long)row * dim;
    float chain = 0.0f;  // thread t adds the squares of x_t, x_(t+256), ...
    for (int i = threadIdx.x; i < dim; i += 256) chain = __fmaf_rn(in[i], in[i], chain);
    const float group = butterfly_sum(chain);
    if (threadIdx.x % 32 == 0) groups[threadIdx.x / 32] = group;
    __syncthreads();
    float sum = groups[0];
    for (int w = 1; w < 8; w++) sum = __fadd_rn(sum, groups[w]);
    const float mean = __fdiv_rn(sum, __int2float_rn(dim));
    const float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
    for (int i = threadIdx.x; i < dim; i += 256)
      out[(long long)row * dim + i] = __fmul_rn(__fmul_rn(in[i], scale), weight[i]);
    __syncthreads();  // groups is written again for the next row
  }
}
