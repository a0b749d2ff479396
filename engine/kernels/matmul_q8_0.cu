// y = x times the transpose of Q8_0 weights, activations of 8 bits.
// Formula:  NUMERICS 6, Q8_0.
// Grid:     matvec: items are (32 outputs, 1 row), 1 to 8 warps; gemm: items are (128 outputs, 64 rows), 128 threads.
// Order:    integers within a block of 32, blocks of a chunk of 128 ascending, chunks from the left.
// Rounding: the product of the scales and one fmaf for each block, one fadd for each chunk.
// Traffic:  the weight once per row (matvec) or per 64 rows (gemm), 8.5 bits a weight; activations once per item.
#include "matmul.cuh"

struct MatmulQ8_0 : Q8_0 {
  static __device__ __forceinline__ float step(float a, const Scale& scale, float dot, float x_scale, float) {
    return __fmaf_rn(__fmul_rn(scale.d, x_scale), dot, a);
  }
};

// y: (rows, outputs), codes: (rows, cols), scales: (rows, cols / 32), weight: tiles
extern "C" __global__ void __launch_bounds__(256, 2)
matmul_q8_0_matvec(float* y, const signed char* codes, const float* scales, const unsigned char* weight,
                   int rows, int outputs, int cols) {
  __shared__ MatvecStage stage;
  matvec<MatmulQ8_0>(stage, y, codes, scales, nullptr, weight, rows, outputs, cols);
}

extern "C" __global__ void __launch_bounds__(GEMM_THREADS, 2)
matmul_q8_0_gemm(float* y, const signed char* codes, const float* scales, const unsigned char* weight,
                 int rows, int outputs, int cols) {
  DYN_SHARED(GemmStage<MatmulQ8_0>, stages);
  gemm<MatmulQ8_0>(stages, y, codes, scales, nullptr, weight, rows, outputs, cols);
}
