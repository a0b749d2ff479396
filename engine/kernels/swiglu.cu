// gate / (1 + exp(-gate)) * up.
// Formula:  NUMERICS 11
// Grid:     one item per 1024 values; 256 threads.
// Order:    none.
// Rounding: exp32, sum, quotient, product.
// Traffic:  gate and up once, out once.
#include "canon.cuh"

static const int SPAN = 1024;

// out, gate, up: (n,); out may be gate or up
extern "C" __global__ void __launch_bounds__(256)
swiglu(float* out, const float* gate, const float* up, long long n) {
  pdl_launch_dependents();
  pdl_wait();
  for (long long first = (long long)blockIdx.x * SPAN; first < n; first += (long long)gridDim.x * SPAN) {
    float g[4], factor[4];  // all loads are on their way before the first product
#pragma unroll
    for (int u = 0; u < 4; u++) {
      const long long i = first + u * 256 + (int)threadIdx.x;
      g[u] = i < n ? gate[i] : 0.0f, factor[u] = i < n ? up[i] : 0.0f;
    }
#pragma unroll
    for (int u = 0; u < 4; u++) {
      const long long i = first + u * 256 + (int)threadIdx.x;
      if (i < n) out[i] = gated(g[u], factor[u]);
    }
  }
}
