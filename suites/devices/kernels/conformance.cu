// Every function of portable.cuh and every float intrinsic that kernels use, each by itself, for the conformance test.
// Formula:  the named function on each element, or one tile by one warp.
// Grid:     any; an item is one block of elements, or one tile.
// Order:    as in the function under test.
// Rounding: as in the function under test; results are compared by bits.
// Traffic:  each input read once, each output written once.
#include "portable.cuh"

#define FOR_EACH(i, n)                                                                                   \
  for (int start = (int)(blockIdx.x * blockDim.x); start < (n); start += (int)(gridDim.x * blockDim.x)) \
    if (const int i = start + (int)threadIdx.x; i < (n))

// float16 and bfloat16 by their bits. out: (n,), in: (n,)
extern "C" __global__ void half_to_floats(float* out, const unsigned short* in, int n) {
  pdl_launch_dependents();
  pdl_wait();
  FOR_EACH(i, n) out[i] = half_to_float(in[i]);
}
extern "C" __global__ void floats_to_half(unsigned short* out, const float* in, int n) {
  pdl_launch_dependents();
  pdl_wait();
  FOR_EACH(i, n) out[i] = float_to_half(in[i]);
}
extern "C" __global__ void bf16_to_floats(float* out, const unsigned short* in, int n) {
  pdl_launch_dependents();
  pdl_wait();
  FOR_EACH(i, n) out[i] = bf16_to_float(in[i]);
}
extern "C" __global__ void floats_to_bf16(unsigned short* out, const float* in, int n) {
  pdl_launch_dependents();
  pdl_wait();
  FOR_EACH(i, n) out[i] = float_to_bf16(in[i]);
}

// out: (7, n): a + b, a - b, a * b, a / b, sqrt(a), fma(a, b, c), and the float of the bits of a taken as an integer
extern "C" __global__ void float_operations(float* out, const float* a, const float* b, const float* c, int n) {
  pdl_launch_dependents();
  pdl_wait();
  const long long row = n;
  FOR_EACH(i, n) {
    out[i] = __fadd_rn(a[i], b[i]);
    out[row + i] = __fsub_rn(a[i], b[i]);
    out[2 * row + i] = __fmul_rn(a[i], b[i]);
    out[3 * row + i] = __fdiv_rn(a[i], b[i]);
    out[4 * row + i] = __fsqrt_rn(a[i]);
    out[5 * row + i] = __fmaf_rn(a[i], b[i], c[i]);
    out[6 * row + i] = __int2float_rn(__float_as_int(a[i]));
  }
}

// out: (2, n): a rounded to an integer (half to even, saturating, NaN to 0), and dp4a of the bits of a, b and c
extern "C" __global__ void integer_operations(int* out, const float* a, const float* b, const float* c, int n) {
  pdl_launch_dependents();
  pdl_wait();
  const long long row = n;
  FOR_EACH(i, n) {
    out[i] = __float2int_rn(a[i]);
    out[row + i] = __dp4a(__float_as_int(a[i]), __float_as_int(b[i]), __float_as_int(c[i]));
  }
}

// out: (n, 4, 32): word of each of four matrices in each lane; in: (n, 32, 4), rows of four words that the lanes name backwards.
extern "C" __global__ void matrices(unsigned* out, const uint4* in, int n) {
  __shared__ uint4 rows[32];
  pdl_launch_dependents();
  pdl_wait();
  const int lane = (int)threadIdx.x;
  for (int tile = (int)blockIdx.x; tile < n; tile += (int)gridDim.x) {
    rows[lane] = in[tile * 32 + lane];
    __syncthreads();
    unsigned words[4];
    load_matrices(words, &rows[31 - lane]);
    for (int i = 0; i < 4; i++) out[(tile * 4 + i) * 32 + lane] = words[i];
    __syncthreads();
  }
}

// out: (n, 4): piece i ^ 1 of in: (n, 4), zeros for every third piece; brought by copies into poisoned shared memory.
extern "C" __global__ void copied(uint4* out, const uint4* in, int n) {
  __shared__ uint4 pieces[256];
  AsyncCopies<1> copies;
  pdl_launch_dependents();
  pdl_wait();
  for (int start = (int)(blockIdx.x * blockDim.x); start < n; start += (int)(gridDim.x * blockDim.x)) {
    const int t = (int)threadIdx.x, i = start + t;
    pieces[t] = make_uint4(~0u, ~0u, ~0u, ~0u);
    __syncthreads();
    if (i < n) copies.copy(&pieces[t], in + i, i % 3 != 0);
    copies.wait();
    __syncthreads();
    if (i < n) out[i] = pieces[t ^ 1];
    __syncthreads();
  }
}
// out: (2, n, 4): what lies in shared memory before the wait (on a GPU undefined) and after it
extern "C" __global__ void copied_late(uint4* out, const uint4* in, int n) {
  __shared__ uint4 pieces[256];
  AsyncCopies<1> copies;
  pdl_launch_dependents();
  pdl_wait();
  for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) {
    uint4& piece = pieces[threadIdx.x];
    piece = make_uint4(1, 2, 3, 4);
    copies.copy(&piece, in + i);
    out[i] = piece;
    copies.wait();
    out[n + i] = piece;
  }
}
// out: (2, n, 4): piece i ^ 1 of in: (2, n, 4), two groups of copies on their way at once.
extern "C" __global__ void copied_in_groups(uint4* out, const uint4* in, int n) {
  __shared__ uint4 pieces[2][256];
  AsyncCopies<2> copies;
  pdl_launch_dependents();
  pdl_wait();
  const int t = (int)threadIdx.x;
  for (int start = (int)(blockIdx.x * blockDim.x); start < n; start += (int)(gridDim.x * blockDim.x)) {
    pieces[0][t] = pieces[1][t] = make_uint4(~0u, ~0u, ~0u, ~0u);
    __syncthreads();
    for (int group = 0; group < 2; group++) {
      if (start + t < n) copies.copy(&pieces[group][t], in + group * n + start + t);
      copies.commit();
    }
    copies.wait_all_but<1>();
    __syncthreads();
    if (start + t < n) out[start + t] = pieces[0][t ^ 1];
    copies.wait_all_but<0>();
    __syncthreads();
    if (start + t < n) out[n + start + t] = pieces[1][t ^ 1];
    __syncthreads();
  }
}
// out: (2, n, 4): what lies in shared memory after the wait for all but the youngest group: the first, not the second.
extern "C" __global__ void copied_by_group(uint4* out, const uint4* in, int n) {
  __shared__ uint4 pieces[2][256];
  AsyncCopies<2> copies;
  pdl_launch_dependents();
  pdl_wait();
  for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) {
    for (int group = 0; group < 2; group++) {
      pieces[group][threadIdx.x] = make_uint4(1, 2, 3, 4);
      copies.copy(&pieces[group][threadIdx.x], in + i);
      copies.commit();
    }
    copies.wait_all_but<1>();
    for (int group = 0; group < 2; group++) out[group * n + i] = pieces[group][threadIdx.x];
    copies.wait();
  }
}

// out: (1,), the sum of in: (n,), by the block that is done last. parts: (grid, 256); arrivals: (1,), zero before and
// after. Without `barrier` a block comes to the counter before all of its threads have written.
extern "C" __global__ void summed_by_the_last(int* out, const int* in, int* parts, unsigned* arrivals, int n,
                                              int barrier) {
  __shared__ int last;
  pdl_launch_dependents();
  pdl_wait();
  int sum = 0;
  FOR_EACH(i, n) sum += in[i];
  parts[blockIdx.x * blockDim.x + threadIdx.x] = sum;
  if (barrier) __syncthreads();
  if (threadIdx.x == 0) last = last_to_arrive(arrivals, gridDim.x);
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  for (unsigned i = 0, total = 0; i < gridDim.x * blockDim.x; i++) out[0] = (int)(total += (unsigned)parts[i]);
}

// out: (tiles, 16, 8), a: (tiles, 16, 32) and b: (tiles, 8, 32) int8 in words of 4, c: (tiles, 16, 8); a warp a block.
extern "C" __global__ void mma_k32(int* out, const unsigned* a, const unsigned* b, const int* c, int tiles) {
  pdl_launch_dependents();
  pdl_wait();
  const int group = threadIdx.x / 4, t = threadIdx.x % 4;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const unsigned *left = a + tile * 128, *right = b + tile * 64;
    const int* start = c + tile * 128;
    const unsigned fragment_a[4] = {left[group * 8 + t], left[(group + 8) * 8 + t], left[group * 8 + 4 + t],
                                    left[(group + 8) * 8 + 4 + t]};
    const unsigned fragment_b[2] = {right[group * 8 + t], right[group * 8 + 4 + t]};
    int d[4], sums[4];
    for (int i = 0; i < 4; i++) sums[i] = start[(group + i / 2 * 8) * 8 + 2 * t + i % 2];
    mma_m16n8k32_s8(d, fragment_a, fragment_b, sums);
    for (int i = 0; i < 4; i++) out[tile * 128 + (group + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
  }
}

// The same with k 0..15: a: (tiles, 16, 16), b: (tiles, 8, 16).
extern "C" __global__ void mma_k16(int* out, const unsigned* a, const unsigned* b, const int* c, int tiles) {
  pdl_launch_dependents();
  pdl_wait();
  const int group = threadIdx.x / 4, t = threadIdx.x % 4;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const unsigned *left = a + tile * 64, *right = b + tile * 32;
    const int* start = c + tile * 128;
    const unsigned fragment_a[2] = {left[group * 4 + t], left[(group + 8) * 4 + t]};
    const unsigned fragment_b[1] = {right[group * 4 + t]};
    int d[4], sums[4];
    for (int i = 0; i < 4; i++) sums[i] = start[(group + i / 2 * 8) * 8 + 2 * t + i % 2];
    mma_m16n8k16_s8(d, fragment_a, fragment_b, sums);
    for (int i = 0; i < 4; i++) out[tile * 128 + (group + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
  }
}

// out: (warps, 32), in: (warps, 32); every lane gets its warp's sum. A warp a block.
extern "C" __global__ void butterfly_sums(float* out, const float* in, int warps) {
  pdl_launch_dependents();
  pdl_wait();
  for (int warp = blockIdx.x; warp < warps; warp += gridDim.x)
    out[warp * 32 + threadIdx.x] = butterfly_sum(in[warp * 32 + threadIdx.x]);
}

// out: (2, warps, 32), in: (warps, 32); every lane gets the largest of its warp's, and their sum. `settled`: a word that is
// read ahead and added to all. A warp a block.
extern "C" __global__ void warp_reductions(int* out, const int* in, const int* settled, int warps) {
  pdl_launch_dependents();
  const int added = load_settled(settled);
  pdl_wait();
  for (int warp = blockIdx.x; warp < warps; warp += gridDim.x) {
    const int at = warp * 32 + (int)threadIdx.x;
    out[at] = warp_max(in[at]) + added;
    out[warps * 32 + at] = warp_total(in[at]) + added;
  }
}

// out: (pieces, 4), in: (pieces, 4), through read-once loads and dynamic shared memory of 16 bytes a thread.
extern "C" __global__ void copy_streaming(uint4* out, const uint4* in, int pieces) {
  DYN_SHARED(uint4, stage);
  pdl_launch_dependents();
  pdl_wait();
  FOR_EACH(i, pieces) {
    stage[threadIdx.x] = load_streaming(in + i);
    out[i] = stage[threadIdx.x];
  }
}

// out: (6,) what arrived: is the pointer not null, the four scalars (the float by its bits), and the number of blocks
extern "C" __global__ void arguments(long long* out, const float* nothing, long long wide, int number,
                                     unsigned unsigned_number, float real) {
  pdl_launch_dependents();
  pdl_wait();
  if (blockIdx.x || threadIdx.x) return;
  out[0] = nothing != nullptr;
  out[1] = wide;
  out[2] = number;
  out[3] = unsigned_number;
  out[4] = __float_as_uint(real);
  out[5] = gridDim.x;
}
