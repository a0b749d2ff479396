// The residual plus a product of one row with quantised weights, and that row for the matmuls behind its norm: quantised
// before the scale of the row, which they find from the sums of squares.
// Formula:  NUMERICS 6 of the weight's type, 7, then 4 and 5 up to `scale`
// Grid:     items are (32 outputs, 1 row), as many warps as the launch has.
// Order:    integers within a block of 32, blocks of a chunk of 128 ascending, chunks from the left; then the residual.
// Rounding: that of the matmul, fadd, one fmul for the weight of the norm, quantize; one fmul and a tree for the squares.
// Traffic:  each weight once; activations once per block; the residual twice, gains once; the rest once, pads included.
#include "matvec.cuh"

// An item is two strips, so that a lane has one of 32 neighbouring outputs. The last items are pads.
template <class Op> struct Residual {
  using First = Op;
  using Last = Op;
  struct Total {  // of an output in each lane
    float sum[1], added, gain;
  };
  float* x;
  signed char* codes;                // (padded,)
  float *scales, *sums, *squares;    // (padded / 32,), the last (dim / 32,)
  const unsigned char* weight;
  const float* gains;
  int dim, padded;
  int items = dim / BLOCK, strips = 2;

  __device__ __forceinline__ bool is_last(int) const { return false; }
  __device__ __forceinline__ int band(int) const { return 0; }
  __device__ __forceinline__ Strip strip(int item, int s) const { return {weight, item, s}; }
  __device__ __forceinline__ int output(int item) const { return item * BLOCK + threadIdx.x % 32; }
  // Long before their use: they come from memory.
  __device__ __forceinline__ void begin(int item, int, Total& total) const {
    total.added = x[output(item)];
    total.gain = gains[output(item)];
  }
  template <class Sums> __device__ __forceinline__ void fold(Total& total, const Sums& sums, int chunks) const {
    fold_strips(total.sum, sums, 2, chunks);
  }
  __device__ __forceinline__ void finish(int item, int, const Total& total) const {
    const float y = __fadd_rn(total.sum[0], total.added);
    x[output(item)] = y;
    put(item, quantize_value(__fmul_rn(y, total.gain)));
    const float square = warp_sum(__fmul_rn(y, y));
    if (threadIdx.x % 32 == 0) squares[item] = square;
  }
  __device__ __forceinline__ void put(int block, const QuantizedValue& q) const {
    codes[block * BLOCK + threadIdx.x % 32] = q.code;
    if (threadIdx.x % 32 == 0) {
      scales[block] = q.scale;
      sums[block] = q.sum;
    }
  }
};

// x: (dim,), dim a multiple of 32. codes: (padded,), scales and sums: (padded / 32,), zero past dim. squares: (dim / 32,).
// a_codes: (cols,), a_scales and a_sums: (cols / 32,). weight: tiles. gains: (dim,). span, ahead: see the skeleton.
// Bounds of 768 threads leave 80 registers where that is enough: beside a block of 512 there is room for one of the launch behind.
#define MATMUL_RESIDUAL(name, Type)                                                                                   \
  extern "C" __global__ void __launch_bounds__(Step<Type>::RESIDENT == 3 ? 768 : 512, 1)                             \
  matmul_residual_##name##_matvec(float* x, signed char* codes, float* scales, float* sums, float* squares,           \
                                  const signed char* a_codes, const float* a_scales, const float* a_sums,             \
                                  const unsigned char* weight, const float* gains, int dim, int padded, int cols,     \
                                  int span, int ahead) {                                                              \
    DYN_SHARED(unsigned char, shared);                                                                                \
    const Residual<Type> work{x, codes, scales, sums, squares, weight, gains, dim, padded};                           \
    matvec<0>(shared, work, Activations{a_codes, a_scales, a_sums, 1, cols}, span, ahead);                            \
    if (blockIdx.x == 0 && threadIdx.x < 32)                                                                          \
      for (int block = dim / BLOCK; block < padded / BLOCK; block++) work.put(block, QuantizedValue{0, 0.0f, 0.0f});  \
  }
MATMUL_RESIDUAL(q8_0, Q8_0)
MATMUL_RESIDUAL(q4_0, Q4_0)
MATMUL_RESIDUAL(q5_0, Q5_0)
MATMUL_RESIDUAL(q4_k, Q4_K)
MATMUL_RESIDUAL(q5_k, Q5_K)
MATMUL_RESIDUAL(q6_k, Q6_K)
