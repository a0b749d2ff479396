// Kernels without a fault, to try the device itself with.
#include "portable.cuh"

// out[i] = x[i] * factor + y[i], rounded after the product and after the sum. Any grid.
extern "C" __global__ void scale_add(float* out, const float* x, const float* y, int n, float factor) {
  pdl_wait();
  pdl_launch_dependents();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    out[i] = __fadd_rn(__fmul_rn(x[i], factor), y[i]);
}

// out[row] = sum of x[row, :]: chains of blockDim, a butterfly over each warp, the warps from the left. Any grid.
extern "C" __global__ void row_sums(float* out, const float* x, int rows, int n) {
  __shared__ float part[32];
  const int t = threadIdx.x, warps = blockDim.x / 32;
  pdl_wait();
  pdl_launch_dependents();
  for (int row = blockIdx.x; row < rows; row += gridDim.x) {
    float sum = 0.0f;
    for (int i = t; i < n; i += blockDim.x) sum = __fadd_rn(sum, x[(long long)row * n + i]);
    sum = butterfly_sum(sum);
    if (t % 32 == 0) part[t / 32] = sum;
    __syncthreads();
    if (t == 0) {
      for (int w = 1; w < warps; w++) sum = __fadd_rn(sum, part[w]);
      out[row] = sum;
    }
    __syncthreads();
  }
}

// A warp's votes and exchanges, 32 lanes a row: out[row, lane] = { ballot, up 3, down 5, broadcast of lane 7 }.
extern "C" __global__ void exchanges(int* out, const int* x, int rows) {
  const int lane = threadIdx.x;
  pdl_wait();
  pdl_launch_dependents();
  for (int row = blockIdx.x; row < rows; row += gridDim.x) {
    const int v = x[row * 32 + lane];
    int* mine = out + (row * 32 + lane) * 4;
    mine[0] = (int)__ballot_sync(0xffffffffu, v & 1);
    mine[1] = __shfl_up_sync(0xffffffffu, v, 3);
    mine[2] = __shfl_down_sync(0xffffffffu, v, 5);
    mine[3] = __shfl_sync(0xffffffffu, v, 7);
  }
}

// Counts the elements of x that are odd, with atomics of every block on one word. count: zero before.
extern "C" __global__ void count_odd(int* count, const int* x, int n) {
  pdl_wait();
  pdl_launch_dependents();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
    if (x[i] & 1) atomicAdd(count, 1);
}

// position moves on by one, on the device.
extern "C" __global__ void step(int* position, int* trail) {
  pdl_wait();
  pdl_launch_dependents();
  if (threadIdx.x == 0) {
    trail[*position] = *position;
    *position = *position + 1;
  }
}

// One argument of every kind that a launch can have.
extern "C" __global__ void every_argument(long long* out, const float* x, int i, unsigned u, long long l, float f) {
  if (threadIdx.x) return;
  out[0] = x == nullptr;
  out[1] = i;
  out[2] = u;
  out[3] = l;
  out[4] = __float_as_int(f);
}

// A kernel that uses 40 KB of static shared memory and any amount of dynamic.
extern "C" __global__ void much_shared(int* out) {
  __shared__ int fixed[10240];
  DYN_SHARED(int, more);
  fixed[threadIdx.x] = threadIdx.x;
  more[threadIdx.x] = 2 * threadIdx.x;
  __syncthreads();
  if (threadIdx.x == 0) out[0] = fixed[blockDim.x - 1] + more[blockDim.x - 1];
}
