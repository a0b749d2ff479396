// y = x times the transpose of Q5_0 weights, activations of 8 bits.
// Formula:  NUMERICS 6, Q5_0.
// Grid:     matvec: items are (16 or 32 outputs, 1 row), 8 warps; few: (16 or 32 outputs, 8 rows), up to 16 warps;
//           gemm: (128 outputs, 64 rows), 128 threads.
// Order:    integers within a block of 32, blocks of a chunk of 128 ascending, chunks from the left.
// Rounding: the product of the scales and one fmaf for each block, one fadd for each chunk.
// Traffic:  the weight once per row (matvec), 8 rows (few) or 64 rows (gemm), 5.5 bits a weight; x once per item.
#include "matmul.cuh"

// y: (rows, outputs), codes: (rows, cols), scales: (rows, cols / 32), weight: tiles
extern "C" __global__ void __launch_bounds__(MATVEC_THREADS, Step<Q5_0>::RESIDENT)
matmul_q5_0_matvec(float* y, const signed char* codes, const float* scales, const unsigned char* weight,
                   int rows, int outputs, int cols, int strips, int span) {
  DYN_SHARED(unsigned char, shared);
  products<Q5_0, Q5_0>(shared, Activations{codes, scales, nullptr, rows, cols}, Product{y, weight, nullptr, outputs, 0}, Product{},
                   Product{}, strips, span);
}

extern "C" __global__ void __launch_bounds__(FEW_THREADS, 1)
matmul_q5_0_few(float* y, const signed char* codes, const float* scales, const unsigned char* weight,
                   int rows, int outputs, int cols, int strips, int span, int turns) {
  DYN_SHARED(unsigned char, shared);
  few_products<Q5_0, Q5_0>(shared, Activations{codes, scales, nullptr, rows, cols}, Product{y, weight, nullptr, outputs, 0}, Product{},
                   Product{}, strips, span, turns);
}

extern "C" __global__ void __launch_bounds__(GEMM_THREADS, 2)
matmul_q5_0_gemm(float* y, const signed char* codes, const float* scales, const unsigned char* weight,
                 int rows, int outputs, int cols) {
  DYN_SHARED(unsigned char, shared);
  gemm_products<Q5_0>(shared, Activations{codes, scales, nullptr, rows, cols}, Product{y, weight, nullptr, outputs, 0},
                      Product{}, Product{});
}
