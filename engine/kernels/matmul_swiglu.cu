// Gate and up of the feed-forward part, swiglu of the two, and quantize of that: the input of the down projection.
// Formula:  NUMERICS 6 of the type of both weights, then 11, then 5
// Grid:     items are (32 values of ff, 1 row), 1 to 8 warps.
// Order:    that of the two matmuls; none in swiglu and quantize.
// Rounding: those of matmul, swiglu and quantize.
// Traffic:  each weight once per row; activations once per item; codes, scales and sums once, pads included.
#include "canon.cuh"
#include "matvec_item.cuh"

// x as in matvec_item; codes: (rows, padded), scales and sums: (rows, padded / 32).
template <class Op, int MOST>
__device__ __forceinline__ void gate_and_up(MatvecStage& stage, signed char* codes, float* scales, float* sums,
                                            const Activations& x, const unsigned char* gate, const unsigned char* up,
                                            int rows, int ff, int padded) {
  const int blocks = padded / BLOCK, items = blocks * rows;
  const int group = x.cols / Op::COLS * Op::TILE_BYTES;
  pdl_launch_dependents();
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const int block = item / rows;
    const long long row = item % rows;
    float sum[2] = {0.0f, 0.0f};
    if (block * BLOCK < ff)
#pragma unroll 1
      for (int i = 0; i < 2; i++) {
        sum[0] = sum[1];
        sum[1] = matvec_item<Op, MOST>(stage, (i ? up : gate) + (long long)block * group, x, row);
      }
    pdl_wait();
    if (threadIdx.x < 32) {
      const float g = sum[0], u = sum[1];
      const QuantizedValue q = quantize_value(__fmul_rn(__fdiv_rn(g, __fadd_rn(1.0f, exp32(-g))), u));
      codes[row * padded + block * BLOCK + threadIdx.x] = q.code;
      if (threadIdx.x == 0) {
        scales[row * blocks + block] = q.scale;
        sums[row * blocks + block] = q.sum;
      }
    }
  }
  pdl_wait();
}

// codes: (rows, padded); scales, sums: (rows, padded / 32), what lies past ff, a multiple of 32, becomes zero. x_codes:
// (rows, cols), x_scales and x_sums: (rows, cols / 32). gate, up: tiles.
#define MATMUL_SWIGLU(name, Type, MOST)                                                                             \
  extern "C" __global__ void __launch_bounds__(256, 2)                                                              \
  matmul_swiglu_##name##_matvec(signed char* codes, float* scales, float* sums, const signed char* x_codes,         \
                                const float* x_scales, const float* x_sums, const unsigned char* gate,              \
                                const unsigned char* up, int rows, int cols, int ff, int padded) {                  \
    __shared__ MatvecStage stage;                                                                                   \
    gate_and_up<Stepped<Type>, MOST>(stage, codes, scales, sums, Activations{x_codes, x_scales, x_sums, cols},      \
                                     gate, up, rows, ff, padded);                                                   \
  }
MATMUL_SWIGLU(q8_0, Q8_0, 1)
MATMUL_SWIGLU(q4_0, Q4_0, 4)
MATMUL_SWIGLU(q5_0, Q5_0, 4)
MATMUL_SWIGLU(q4_k, Q4_K, 4)
MATMUL_SWIGLU(q5_k, Q5_K, 4)
MATMUL_SWIGLU(q6_k, Q6_K, 4)
