// A kernel of one's own for `zeroulp check-kernel examples/rms_norm.cu --op rms_norm --entry my_rms_norm`: equal to the
// oracle in every bit, because it adds in the order of NUMERICS 4. One block per row, 256 threads.
#include "portable.cuh"

extern "C" __global__ void my_rms_norm(float* out, const float* x, const float* weight, int rows, int dim, float eps) {
  __shared__ float chains[32];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int row = blockIdx.x; row < rows; row += gridDim.x) {
    const float* in = x + (long long)row * dim;
    for (int l = warp; l < 32; l += 8) {
      float chain = 0.0f;  // chain l adds the squares of blocks l, l+32, ... of 32 neighbours, a lane each
      for (int first = 32 * l; first < dim; first += 32 * 32) {
        const int i = first + lane;
        const float value = i < dim ? in[i] : 0.0f;
        chain = __fadd_rn(chain, butterfly_sum(__fmul_rn(value, value)));
      }
      if (lane == 0) chains[l] = chain;
    }
    __syncthreads();
    const float sum = butterfly_sum(chains[lane]);
    const float mean = __fdiv_rn(sum, __int2float_rn(dim));
    const float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
    for (int i = threadIdx.x; i < dim; i += 256)
      out[(long long)row * dim + i] = __fmul_rn(__fmul_rn(in[i], weight[i]), scale);
    __syncthreads();  // chains is written again for the next row
  }
}
