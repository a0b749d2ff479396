// rms_norm, then quantize, of each row.
// Formula:  NUMERICS 4, then 5
// Grid:     one item per row; 1024 threads, or 256 where there are rows enough to fill the machine.
// Order:    thread t < 256 folds x_t, x_(t+256), ...; a tree within each warp; the 8 warps from the left.
// Rounding: that of rms_norm, then that of quantize.
// Traffic:  x twice (the second time from cache), weight once; codes, scales and sums once, pads included.
#include "canon.cuh"

static const int CHAINS = 256;

// All rows by blocks of THREADS, which quantise four values each at a time.
template <int THREADS>
__device__ __forceinline__ void norm_and_quantize(signed char* codes, float* scales, float* sums, const float* x,
                                                  const float* weight, int rows, int dim, int padded, float eps) {
  static_assert(THREADS >= CHAINS, "a thread for each chain");
  constexpr int STRIDE = 4 * THREADS;
  __shared__ float groups[CHAINS / 32];
  const int t = (int)threadIdx.x, lane = t & 31, warp = t >> 5, mine = 4 * t;
  const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  float4 gain = zero;  // a weight, so it may come before the wait
  if (mine < dim) gain = *reinterpret_cast<const float4*>(weight + mine);
  pdl_launch_dependents();
  pdl_wait();
  for (int row = (int)blockIdx.x; row < rows; row += (int)gridDim.x) {
    const float* in = x + (long long)row * dim;
    float4 held = zero;
    if (mine < dim) held = *reinterpret_cast<const float4*>(in + mine);
    if (t < CHAINS) {
      float chain = 0.0f;
#pragma unroll 16
      for (int i = t; i < dim; i += CHAINS) chain = __fmaf_rn(in[i], in[i], chain);
      const float group = warp_sum(chain);
      if (lane == 0) groups[warp] = group;
    }
    __syncthreads();
    float sum = groups[0];
#pragma unroll
    for (int w = 1; w < CHAINS / 32; w++) sum = __fadd_rn(sum, groups[w]);
    const float mean = __fdiv_rn(sum, __int2float_rn(dim));
    const float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
    for (int first = 0; first < padded; first += STRIDE) {
      const int col = first + mine;
      if (first + 128 * warp >= padded) break;  // a warp has 128 columns or none
      if (first) {
        held = gain = zero;
        if (col < dim) {
          held = *reinterpret_cast<const float4*>(in + col);
          gain = *reinterpret_cast<const float4*>(weight + col);
        }
      }
      float4 y = zero;
      if (col < dim) {
        y.x = __fmul_rn(__fmul_rn(held.x, scale), gain.x);
        y.y = __fmul_rn(__fmul_rn(held.y, scale), gain.y);
        y.z = __fmul_rn(__fmul_rn(held.z, scale), gain.z);
        y.w = __fmul_rn(__fmul_rn(held.w, scale), gain.w);
      }
      const QuantizedPart part = quantize_block(y);
      *reinterpret_cast<char4*>(codes + (long long)row * padded + col) = part.codes;
      if ((lane & 7) == 0) {
        const long long block = (long long)row * (padded >> 5) + (col >> 5);
        scales[block] = part.scale;
        sums[block] = part.sum;
      }
    }
    if (dim > STRIDE) {  // the next row starts with the first columns
      gain = zero;
      if (mine < dim) gain = *reinterpret_cast<const float4*>(weight + mine);
    }
    __syncthreads();  // groups is written again for the next row
  }
}

// codes: (rows, padded); scales, sums: (rows, padded / 32); x: (rows, dim); weight: (dim,). dim is a multiple of 32,
// padded of 128; what lies past dim becomes zero.
extern "C" __global__ void __launch_bounds__(1024, 1)
rms_norm_quantize(signed char* codes, float* scales, float* sums, const float* x, const float* weight, int rows, int dim,
                  int padded, float eps) {
  norm_and_quantize<1024>(codes, scales, sums, x, weight, rows, dim, padded, eps);
}

extern "C" __global__ void __launch_bounds__(256)
rms_norm_quantize_many(signed char* codes, float* scales, float* sums, const float* x, const float* weight, int rows,
                       int dim, int padded, float eps) {
  norm_and_quantize<256>(codes, scales, sums, x, weight, rows, dim, padded, eps);
}
