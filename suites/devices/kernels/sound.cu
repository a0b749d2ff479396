// Kernels without a fault, to try the device with.
#include "portable.cuh"

// out[i] = x[i] * factor + y[i], rounded after the product and after the sum. Any grid.
extern "C" __global__ void scale_add(float* out, const float* x, const float* y, int n, float factor) {
  pdl_wait();
  pdl_launch_dependents();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    out[i] = __fadd_rn(__fmul_rn(x[i], factor), y[i]);
}
