// Sum of two arrays: the residual, or a bias.
// Formula:  NUMERICS 7: out = x + y
// Grid:     one item per 1024 values of a row; 256 threads.
// Order:    none.
// Rounding: once.
// Traffic:  x and y once (a bias from cache), out once.
#include "portable.cuh"

static const int SPAN = 1024;

// out, x: (rows, dim), out may be x; y: (rows, dim) with y_stride = dim, or (dim,) with y_stride = 0
extern "C" __global__ void __launch_bounds__(256)
add(float* out, const float* x, const float* y, int rows, int dim, int y_stride) {
  const int spans = (dim + SPAN - 1) / SPAN, items = rows * spans;
  pdl_launch_dependents();
  pdl_wait();
  for (int item = (int)blockIdx.x; item < items; item += (int)gridDim.x) {
    const long long row = item / spans;
    const int first = item % spans * SPAN + (int)threadIdx.x;
    float sums[4];
#pragma unroll
    for (int u = 0; u < 4; u++) {
      const int i = first + u * 256;
      if (i < dim) sums[u] = __fadd_rn(x[row * dim + i], y[row * y_stride + i]);
    }
#pragma unroll
    for (int u = 0; u < 4; u++) {
      const int i = first + u * 256;
      if (i < dim) out[row * dim + i] = sums[u];
    }
  }
}
