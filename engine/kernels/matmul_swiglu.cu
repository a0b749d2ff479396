// Gate and up of the feed-forward part, swiglu of the two, and quantize of that: the input of the down projection.
// Formula:  NUMERICS 6 of the type of both weights, then 11, then 5
// Grid:     items are (32 values of ff, 1 row), 8 warps.
// Order:    that of the two matmuls; none in swiglu and quantize.
// Rounding: those of matmul, swiglu and quantize.
// Traffic:  each weight once per row; activations once per block and row; codes, scales and sums once, pads included.
#include "canon.cuh"
#include "matvec.cuh"

// Strips 0 and 1 of an item are 32 rows of gate, 2 and 3 the same rows of up. The last items are pads.
template <class Op> struct GateUp {
  using First = Op;
  using Last = Op;
  struct Total {
    float gate, up;
  };
  signed char* codes;  // (rows, padded)
  float *scales, *sums;  // (rows, padded / 32)
  const unsigned char *gate, *up;
  int rows, ff, padded;
  int items, strips = 4;

  __device__ __forceinline__ bool is_last(int) const { return false; }
  __device__ __forceinline__ int row(int item) const { return item % rows; }
  __device__ __forceinline__ Strip strip(int item, int s) const { return {s < 2 ? gate : up, item / rows, s % 2}; }
  __device__ __forceinline__ void begin(int, Total&) const {}
  __device__ __forceinline__ void fold(Total& total, const float* partial, int chunks, int stride) const {
    fold_strips(total.gate, partial, 2, chunks, stride);
    fold_strips(total.up, partial + 2 * stride * STRIP_ROWS, 2, chunks, stride);
  }
  __device__ __forceinline__ void finish(int item, const Total& total) const {
    const float g = total.gate;
    put(item, quantize_value(__fmul_rn(__fdiv_rn(g, __fadd_rn(1.0f, exp32(-g))), total.up)));
  }
  __device__ __forceinline__ void put(int item, const QuantizedValue& q) const {
    const long long at = (long long)row(item) * (padded / BLOCK) + item / rows;
    codes[at * BLOCK + threadIdx.x % 32] = q.code;
    if (threadIdx.x % 32 == 0) {
      scales[at] = q.scale;
      sums[at] = q.sum;
    }
  }
};

template <class Op>
__device__ __forceinline__ void gate_and_up(unsigned char* shared, const GateUp<Op>& work, const Activations& x, int span) {
  matvec(shared, work, x, span);
  const int pads = (work.padded - work.ff) / BLOCK * work.rows;  // no weights, one warp each
  for (int item = blockIdx.x * MATVEC_WARPS + threadIdx.x / 32; item < pads; item += gridDim.x * MATVEC_WARPS)
    work.put(work.items + item, QuantizedValue{0, 0.0f, 0.0f});
}

// codes: (rows, padded); scales, sums: (rows, padded / 32), what lies past ff, a multiple of 32, becomes zero. x_codes:
// (rows, cols), x_scales and x_sums: (rows, cols / 32). gate, up: tiles. span: see matvec.cuh.
#define MATMUL_SWIGLU(name, Type)                                                                                   \
  extern "C" __global__ void __launch_bounds__(MATVEC_THREADS, Step<Type>::RESIDENT)                                                 \
  matmul_swiglu_##name##_matvec(signed char* codes, float* scales, float* sums, const signed char* x_codes,         \
                                const float* x_scales, const float* x_sums, const unsigned char* gate,              \
                                const unsigned char* up, int rows, int cols, int ff, int padded, int span) {        \
    DYN_SHARED(unsigned char, shared);                                                                              \
    gate_and_up(shared, GateUp<Type>{codes, scales, sums, gate, up, rows, ff, padded, ff / BLOCK * rows},           \
                Activations{x_codes, x_scales, x_sums, rows, cols}, span);                                          \
  }
MATMUL_SWIGLU(q8_0, Q8_0)
MATMUL_SWIGLU(q4_0, Q4_0)
MATMUL_SWIGLU(q5_0, Q5_0)
MATMUL_SWIGLU(q4_k, Q4_K)
MATMUL_SWIGLU(q5_k, Q5_K)
MATMUL_SWIGLU(q6_k, Q6_K)
