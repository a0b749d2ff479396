// y = x times the transpose of Q5_K weights, activations of 8 bits.
// Formula:  NUMERICS 6, Q5_K.
// Grid:     matvec: items are (32 outputs, 1 row), 1 to 8 warps; gemm: items are (128 outputs, 64 rows), 128 threads.
// Order:    integers within a block of 32, blocks of a chunk of 128 ascending, chunks from the left.
// Rounding: products of the scales and two fmaf for each block, one fadd for each chunk.
// Traffic:  the weight once per row (matvec) or per 64 rows (gemm), 5.5 bits a weight; activations once per item.
#include "matmul.cuh"

struct MatmulQ5_K : Q5_K {
  static __device__ __forceinline__ float step(float a, const Scale& scale, float dot, float x_scale, float x_sum) {
    a = __fmaf_rn(__fmul_rn(scale.scale, x_scale), dot, a);
    return __fmaf_rn(-scale.minimum, x_sum, a);
  }
};

// y: (rows, outputs), codes: (rows, cols), scales and sums: (rows, cols / 32), weight: tiles
extern "C" __global__ void __launch_bounds__(256, 2)
matmul_q5_k_matvec(float* y, const signed char* codes, const float* scales, const float* sums, const unsigned char* weight,
                   int rows, int outputs, int cols) {
  __shared__ MatvecStage stage;
  matvec<MatmulQ5_K>(stage, y, codes, scales, sums, weight, rows, outputs, cols);
}

extern "C" __global__ void __launch_bounds__(GEMM_THREADS, 2)
matmul_q5_k_gemm(float* y, const signed char* codes, const float* scales, const float* sums, const unsigned char* weight,
                 int rows, int outputs, int cols) {
  DYN_SHARED(GemmStage<MatmulQ5_K>, stages);
  gemm<MatmulQ5_K>(stages, y, codes, scales, sums, weight, rows, outputs, cols);
}
