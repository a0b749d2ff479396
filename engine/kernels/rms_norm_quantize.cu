// rms_norm of each row to 8 bits with one scale for 32; the scale of the row comes behind the quantisation.
// Formula:  NUMERICS 5: quantize of x_i * weight_i; its scales and sums by the scale of NUMERICS 4
// Grid:     one item per row; 1024 threads, or 256 where there are rows enough to fill the machine.
// Order:    a tree over the squares of each block of 32; chain l adds blocks l, l+32, ...; a tree over the 32 chains.
// Rounding: x by weight, then that of quantize; that of rms_norm's scale; its products with scales and sums.
// Traffic:  x once, weight once; codes, scales and sums once, pads included.
#include "canon.cuh"

// Sum of the squares of one block of 32, NUMERICS 4, of which each of eight neighbouring lanes holds four neighbours: in
// all eight. All 32 lanes take part, which is four blocks at once.
__device__ __forceinline__ float block_squares(float4 x) {
  const int lane = (int)threadIdx.x & 31;
  const float a = __fmul_rn(x.x, x.x), b = __fmul_rn(x.y, x.y), c = __fmul_rn(x.z, x.z), d = __fmul_rn(x.w, x.w);
  // Each lane goes on with two of the four places in its block, then with one: its partner takes the others.
  const bool last_two = lane & 4, odd = lane & 2;
  const float even_place = __fadd_rn(last_two ? c : a, __shfl_xor_sync(WHOLE_WARP, last_two ? a : c, 4));
  const float odd_place = __fadd_rn(last_two ? d : b, __shfl_xor_sync(WHOLE_WARP, last_two ? b : d, 4));
  const float given = __shfl_xor_sync(WHOLE_WARP, odd ? even_place : odd_place, 2);
  float sum = __fadd_rn(odd ? odd_place : even_place, given);
  sum = __fadd_rn(sum, __shfl_xor_sync(WHOLE_WARP, sum, 1));
  sum = __fadd_rn(sum, __shfl_xor_sync(WHOLE_WARP, sum, 4));
  return __fadd_rn(sum, __shfl_xor_sync(WHOLE_WARP, sum, 2));
}

// All rows by blocks of THREADS, which take four values each at a time.
template <int THREADS>
__device__ __forceinline__ void norm_and_quantize(signed char* codes, float* scales, float* sums, const float* x,
                                                  const float* weight, int rows, int dim, int padded, float eps) {
  constexpr int STRIDE = 4 * THREADS;
  const int t = (int)threadIdx.x, lane = t & 31, warp = t >> 5, mine = 4 * t;
  const int blocks = dim >> 5, with_pads = padded >> 5;
  DYN_SHARED(float, squares);  // of each block
  float *unscaled = squares + blocks, *unscaled_sums = unscaled + blocks;
  const float4 zero = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  float4 first_gain = zero;  // a weight, so it may come before the wait
  if (mine < dim) first_gain = *reinterpret_cast<const float4*>(weight + mine);
  pdl_launch_dependents();
  pdl_wait();
  for (int row = (int)blockIdx.x; row < rows; row += (int)gridDim.x) {
    const float* in = x + (long long)row * dim;
    for (int first = 128 * warp; first < padded; first += STRIDE) {  // a warp has 128 columns or none
      const int col = first + 4 * lane;
      float4 held = zero, gain = zero;
      if (col < dim) {
        held = *reinterpret_cast<const float4*>(in + col);
        gain = col == mine ? first_gain : *reinterpret_cast<const float4*>(weight + col);
      }
      const float square = block_squares(held);
      const QuantizedPart part = quantize_block(make_float4(__fmul_rn(held.x, gain.x), __fmul_rn(held.y, gain.y),
                                                            __fmul_rn(held.z, gain.z), __fmul_rn(held.w, gain.w)));
      *reinterpret_cast<char4*>(codes + (long long)row * padded + col) = part.codes;
      if ((lane & 7) == 0 && col < dim) {
        squares[col >> 5] = square;
        unscaled[col >> 5] = part.scale;
        unscaled_sums[col >> 5] = part.sum;
      }
    }
    __syncthreads();
    if (32 * warp < with_pads) {
      const float scale = norm_scale(squares, blocks, dim, eps);
      for (int b = t; b < with_pads; b += THREADS) {
        const long long to = (long long)row * with_pads + b;
        scales[to] = b < blocks ? __fmul_rn(unscaled[b], scale) : 0.0f;
        sums[to] = b < blocks ? __fmul_rn(unscaled_sums[b], scale) : 0.0f;
      }
    }
    __syncthreads();  // what is shared is written again for the next row
  }
}

// codes: (rows, padded); scales, sums: (rows, padded / 32); x: (rows, dim); weight: (dim,). dim is a multiple of 32,
// padded of 128; what lies past dim becomes zero. Dynamic shared memory: three floats for each 32 of dim.
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
