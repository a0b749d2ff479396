// Up to three products of the same activations with quantised weights of one type, or of two, each perhaps with something added.
// Formula:  NUMERICS 6 of each weight's type, then 7
// Grid:     items are (32 outputs of one weight, 1 row), 1 to 16 warps.
// Order:    integers within a block of 32, blocks of a chunk of 128 ascending, chunks from the left; then the addend.
// Rounding: that of the matmul, one fadd for the addend.
// Traffic:  each weight once per row; activations once per item; addends once, outputs once.
#include "matvec_item.cuh"

// One of the products: y = x W^T (+ added). `added` may be null; its rows lie `stride` apart (0: one row for all).
struct Product {
  float* y;
  const unsigned char* weight;
  const float* added;
  int outputs, stride;
};

template <class Op>
__device__ __forceinline__ void product(MatvecStage& stage, const Product& p, const Activations& x, int item, int rows) {
  const int lane = threadIdx.x % 32, output = item / rows * TILE_ROWS + lane;
  const long long row = item % rows;
  const int tiles = x.cols / Op::COLS;
  const float total = matvec_item<Op>(stage, p.weight + (long long)(item / rows) * tiles * Op::TILE_BYTES, x, row);
  if (threadIdx.x < 32 && output < p.outputs) {
    const float added = p.added ? p.added[row * p.stride + output] : 0.0f;
    p.y[row * p.outputs + output] = p.added ? __fadd_rn(total, added) : total;
  }
}

// Products a and b have weights of one type, product c of that or another one.
template <class First, class Last, bool ONE_TYPE>
__device__ __forceinline__ void products(MatvecStage& stage, const Activations& x, const Product& a, const Product& b,
                                         const Product& c, int rows) {
  const int items_a = (a.outputs + TILE_ROWS - 1) / TILE_ROWS * rows;
  const int items_b = items_a + (b.outputs + TILE_ROWS - 1) / TILE_ROWS * rows;
  const int items = items_b + (c.outputs + TILE_ROWS - 1) / TILE_ROWS * rows;
  pdl_launch_dependents();
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    if constexpr (ONE_TYPE) {
      const Product p = item < items_a ? a : item < items_b ? b : c;
      product<First>(stage, p, x, item - (item < items_a ? 0 : item < items_b ? items_a : items_b), rows);
    } else if (item >= items_b) product<Last>(stage, c, x, item - items_b, rows);
    else product<First>(stage, item < items_a ? a : b, x, item < items_a ? item : item - items_a, rows);
  }
  pdl_wait();
}

// y: (rows, outputs), weight: tiles, added: (rows, stride) or null, for each of a, b and c; outputs 0: no such product.
// codes: (rows, cols), scales and sums: (rows, cols / 32).
// Two types in one kernel need the registers of a smaller block.
#define MATMUL_GROUP(name, First, Last, ONE)                                                                          \
  extern "C" __global__ void __launch_bounds__(ONE ? 384 : 256, 1)                                                    \
  matmul_group_##name##_matvec(float* y_a, float* y_b, float* y_c, const signed char* codes, const float* scales,     \
                               const float* sums, const unsigned char* weight_a, const unsigned char* weight_b,       \
                               const unsigned char* weight_c, const float* added_a, const float* added_b,             \
                               const float* added_c, int rows, int cols, int outputs_a, int outputs_b, int outputs_c, \
                               int stride_a, int stride_b, int stride_c) {                                            \
    __shared__ MatvecStage stage;                                                                                     \
    products<Stepped<First>, Stepped<Last>, ONE>(stage, Activations{codes, scales, sums, cols},                       \
                                            Product{y_a, weight_a, added_a, outputs_a, stride_a},                     \
                                            Product{y_b, weight_b, added_b, outputs_b, stride_b},                     \
                                            Product{y_c, weight_c, added_c, outputs_c, stride_c}, rows);              \
  }
MATMUL_GROUP(q8_0_q8_0, Q8_0, Q8_0, true)
MATMUL_GROUP(q4_0_q4_0, Q4_0, Q4_0, true)
MATMUL_GROUP(q5_0_q5_0, Q5_0, Q5_0, true)
MATMUL_GROUP(q4_k_q4_k, Q4_K, Q4_K, true)
MATMUL_GROUP(q4_k_q6_k, Q4_K, Q6_K, false)
MATMUL_GROUP(q5_k_q5_k, Q5_K, Q5_K, true)
MATMUL_GROUP(q5_k_q6_k, Q5_K, Q6_K, false)
MATMUL_GROUP(q6_k_q6_k, Q6_K, Q6_K, true)
