// Up to three products of the same activations with quantised weights of one type, or of two, each perhaps with something added.
// Formula:  NUMERICS 6 of each weight's type, then 7
// Grid:     items are (16 or 32 outputs of one weight, 1 row), 8 warps; a few rows: (16 or 32 outputs, 8 rows), up to 16 warps;
//           many, of one type: (128 outputs, 64 rows), 128 threads.
// Order:    integers within a block of 32, blocks of a chunk of 128 ascending, chunks from the left; then the addend.
// Rounding: that of the matmul, one fadd for the addend.
// Traffic:  each weight once per row, 8 rows or 64 rows; activations once per block and row; addends once, outputs once.
#include "gemm.cuh"

// y: (rows, outputs), weight: tiles, added: (rows, stride) or null, for each of a, b and c; outputs 0: no such product.
// codes: (rows, cols), scales and sums: (rows, cols / 32). strips, span, ahead, turns: see the skeleton.
#define PARAMETERS                                                                                               \
  float *y_a, float *y_b, float *y_c, const signed char *codes, const float *scales, const float *sums,          \
      const unsigned char *weight_a, const unsigned char *weight_b, const unsigned char *weight_c,               \
      const float *added_a, const float *added_b, const float *added_c, int rows, int cols, int outputs_a,       \
      int outputs_b, int outputs_c, int stride_a, int stride_b, int stride_c
#define PRODUCTS                                                                                                 \
  Product{y_a, weight_a, added_a, outputs_a, stride_a}, Product{y_b, weight_b, added_b, outputs_b, stride_b},    \
      Product{y_c, weight_c, added_c, outputs_c, stride_c}
#define GROUP Activations{codes, scales, sums, rows, cols}, PRODUCTS
#define MATMUL_GROUP(name, First, Last)                                                                          \
  extern "C" __global__ void __launch_bounds__(MATVEC_THREADS, Step<First>::RESIDENT)                            \
  matmul_group_##name##_matvec(PARAMETERS, int strips, int span, int ahead, const float* squares, int blocks,    \
                               float eps) {                                                                      \
    DYN_SHARED(unsigned char, shared);                                                                           \
    const Activations x{codes, scales, sums, rows, cols, squares, blocks, eps};                                  \
    products<First, Last>(shared, x, PRODUCTS, strips, span, ahead);                                             \
  }                                                                                                              \
  extern "C" __global__ void __launch_bounds__(FEW_THREADS, 1)                                     \
  matmul_group_##name##_few(PARAMETERS, int strips, int span, int turns) {                                       \
    DYN_SHARED(unsigned char, shared);                                                                           \
    few_products<First, Last>(shared, GROUP, strips, span, turns);                                               \
  }
#define MATMUL_GROUP_OF_ONE(name, Type)                                                                          \
  MATMUL_GROUP(name##_##name, Type, Type)                                                                        \
  extern "C" __global__ void __launch_bounds__(GEMM_THREADS, 2)                                                  \
  matmul_group_##name##_##name##_gemm(PARAMETERS) {                                                              \
    DYN_SHARED(unsigned char, shared);                                                                           \
    gemm_products<Type>(shared, GROUP);                                                                          \
  }
MATMUL_GROUP_OF_ONE(q8_0, Q8_0)
MATMUL_GROUP_OF_ONE(q4_0, Q4_0)
MATMUL_GROUP_OF_ONE(q5_0, Q5_0)
MATMUL_GROUP_OF_ONE(q4_k, Q4_K)
MATMUL_GROUP_OF_ONE(q5_k, Q5_K)
MATMUL_GROUP_OF_ONE(q6_k, Q6_K)
MATMUL_GROUP(q4_k_q6_k, Q4_K, Q6_K)
MATMUL_GROUP(q5_k_q6_k, Q5_K, Q6_K)
