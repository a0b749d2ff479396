// y = x times the transpose of F32 weights, float32 activations, any number of columns.
// Formula:  NUMERICS 6, float weights.
// Grid:     matvec: items are (32 outputs, 1 row), 1 to 8 warps; gemm: items are (128 outputs, 64 rows), 256 threads.
// Order:    columns of a chunk of 128 ascending, chunks from the left.
// Rounding: one fmaf for each column, one fadd for each chunk.
// Traffic:  the weight once per row (matvec) or per 64 rows (gemm), 32 bits a weight; activations once per item.
#include "matmul_float.cuh"

// y: (rows, outputs), x: (rows, cols), weight: tiles
extern "C" __global__ void __launch_bounds__(256, 2)
matmul_f32_matvec(float* y, const float* x, const unsigned char* weight, int rows, int outputs, int cols) {
  __shared__ FloatStage stage;
  float_matvec<F32>(stage, y, x, weight, rows, outputs, cols);
}

extern "C" __global__ void __launch_bounds__(256, 2)
matmul_f32_gemm(float* y, const float* x, const unsigned char* weight, int rows, int outputs, int cols) {
  __shared__ FloatGemmStage stage;
  float_gemm<F32>(stage, y, x, weight, rows, outputs, cols);
}
