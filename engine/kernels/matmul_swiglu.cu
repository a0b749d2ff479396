// Gate and up of the feed-forward part, swiglu of the two, and quantize of that: the input of the down projection.
// Formula:  NUMERICS 6 of the type of both weights, then 11, then 5
// Grid:     items are (32 values of ff, 1 row), 8 warps; a few rows: (32 values of ff, 8 rows), up to 16.
// Order:    that of the two matmuls; none in swiglu and quantize.
// Rounding: those of matmul, swiglu and quantize.
// Traffic:  each weight once per row or per 8 rows; activations once per block and row; codes, scales and sums once, pads included.
#include "canon.cuh"
#include "few.cuh"

// Strips 0 and 1 of an item are 32 rows of gate, 2 and 3 the same rows of up. The last items are pads.
template <class Op> struct GateUp {
  using First = Op;
  using Last = Op;
  struct Total {
    float sums[2];  // of gate, of up
  };
  signed char* codes;  // (rows, padded)
  float *scales, *sums;  // (rows, padded / 32)
  const unsigned char *gate, *up;
  int bands, ff, padded;
  int items = ff / BLOCK * bands, strips = 4;

  __device__ __forceinline__ bool is_last(int) const { return false; }
  __device__ __forceinline__ int band(int item) const { return band_of(item, bands); }
  __device__ __forceinline__ Strip strip(int item, int s) const { return {s < 2 ? gate : up, unit_of(item, bands), s % 2}; }
  __device__ __forceinline__ void begin(int, int, Total&) const {}
  template <class Sums> __device__ __forceinline__ void fold(Total& total, const Sums& sums, int chunks) const {
    fold_strips(total.sums, sums, 2, chunks);
  }
  __device__ __forceinline__ void finish(int item, int row, const Total& total) const {
    put(row, unit_of(item, bands), quantize_value(gated(total.sums[0], total.sums[1])));
  }
  __device__ __forceinline__ void put(int row, int block, const QuantizedValue& q) const {
    const long long at = (long long)row * (padded / BLOCK) + block;
    codes[at * BLOCK + threadIdx.x % 32] = q.code;
    if (threadIdx.x % 32 == 0) {
      scales[at] = q.scale;
      sums[at] = q.sum;
    }
  }
};

// What lies past ff has no weights: a warp for each block of 32. After the pdl_wait of a skeleton.
template <class Op> __device__ __forceinline__ void put_pads(const GateUp<Op>& work, int rows, int warps) {
  const int pads = (work.padded - work.ff) / BLOCK * rows;
  for (int pad = blockIdx.x * warps + threadIdx.x / 32; pad < pads; pad += gridDim.x * warps)
    work.put(pad % rows, work.ff / BLOCK + pad / rows, QuantizedValue{0, 0.0f, 0.0f});
}

// codes: (rows, padded); scales, sums: (rows, padded / 32), what lies past ff, a multiple of 32, becomes zero. x_codes:
// (rows, cols), x_scales and x_sums: (rows, cols / 32). gate, up: tiles. span, turns: see the skeleton.
#define PARAMETERS                                                                                                     \
  signed char *codes, float *scales, float *sums, const signed char *x_codes, const float *x_scales,                   \
      const float *x_sums, const unsigned char *gate, const unsigned char *up, int rows, int cols, int ff, int padded, \
      int span
#define MATMUL_SWIGLU(name, Type)                                                                                      \
  extern "C" __global__ void __launch_bounds__(MATVEC_THREADS, Step<Type>::RESIDENT)                                   \
  matmul_swiglu_##name##_matvec(PARAMETERS, const float* squares, int blocks, float eps) {                             \
    DYN_SHARED(unsigned char, shared);                                                                                 \
    const GateUp<Type> work{codes, scales, sums, gate, up, rows, ff, padded};                                          \
    matvec(shared, work, Activations{x_codes, x_scales, x_sums, rows, cols, squares, blocks, eps}, span);              \
    put_pads(work, rows, MATVEC_WARPS);                                                                                \
  }                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(FEW_THREADS, 1)                                                         \
  matmul_swiglu_##name##_few(PARAMETERS, int turns) {                                                                  \
    DYN_SHARED(unsigned char, shared);                                                                                 \
    const GateUp<Type> work{codes, scales, sums, gate, up, few_bands(rows), ff, padded};                               \
    few(shared, work, Activations{x_codes, x_scales, x_sums, rows, cols}, span, turns);                                \
    put_pads(work, rows, blockDim.x / 32);                                                                             \
  }
MATMUL_SWIGLU(q8_0, Q8_0)
MATMUL_SWIGLU(q4_0, Q4_0)
MATMUL_SWIGLU(q5_0, Q5_0)
MATMUL_SWIGLU(q4_k, Q4_K)
MATMUL_SWIGLU(q5_k, Q5_K)
MATMUL_SWIGLU(q6_k, Q6_K)
