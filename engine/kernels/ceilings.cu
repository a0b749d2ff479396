// What this machine can do at best: kernels that read, multiply or do nothing else. No op of a model.
// Formula:  fill_random: word i of every 16 bytes is a hash of (seed, i); read_all: sum of all words mod 2^32;
//           mma_peak: D = A B + D, `rounds` times on each of CHAINS tiles; fma_peak: x = a x + b, `rounds` times on
//           each of CHAINS values of a thread; copy_all: to = from; show_clocks: what a multiprocessor's clocks show;
//           do_nothing: nothing.
// Grid:     any (show_clocks: as many blocks as it wants looks); items are slices of a block's threads x IN_FLIGHT pieces of 16 bytes, warps' tiles (mma_peak) or
//           threads' values (fma_peak).
// Order:    integer sums, any order; fma_peak's values of a thread ascending.
// Rounding: none, integers only; fma_peak one rounding for each multiply-add and addition.
// Traffic:  read_all 16 bytes a piece, read once; fill_random the same, written; copy_all both; the others next to
//           nothing.
#include "portable.cuh"

constexpr int IN_FLIGHT = 4, CHAINS = 8;

// A bijection of 32-bit words that looks random (xor-shift-multiply), so that data does not compress or repeat.
__device__ __forceinline__ unsigned scrambled(unsigned value) {
  value = (value ^ (value >> 16)) * 0x7feb352du;
  value = (value ^ (value >> 15)) * 0x846ca68bu;
  return value ^ (value >> 16);
}

__device__ __forceinline__ uint4 random_piece(long long index, unsigned seed) {
  const unsigned low = scrambled((unsigned)index ^ seed), high = scrambled((unsigned)(index >> 32) + low);
  return make_uint4(high, scrambled(high + 1u), scrambled(high + 2u), scrambled(high + 3u));
}

// data: (pieces, 4); pieces a multiple of blockDim.x * IN_FLIGHT.
extern "C" __global__ void fill_random(uint4* data, long long pieces, unsigned seed) {
  pdl_launch_dependents();
  pdl_wait();
  for (long long slice = blockIdx.x; slice < pieces / blockDim.x; slice += gridDim.x) {
    const long long index = slice * blockDim.x + threadIdx.x;
    data[index] = random_piece(index, seed);
  }
}

// sum: (1,), zero before; data as above. Every thread keeps IN_FLIGHT loads of 16 bytes on their way.
extern "C" __global__ void read_all(unsigned* sum, const uint4* data, long long pieces) {
  pdl_launch_dependents();
  pdl_wait();
  const int width = blockDim.x;
  unsigned total = 0;
  for (long long slice = blockIdx.x; slice < pieces / (width * IN_FLIGHT); slice += gridDim.x) {
    const uint4* first = data + slice * (width * IN_FLIGHT) + threadIdx.x;
    uint4 piece[IN_FLIGHT];
#pragma unroll
    for (int i = 0; i < IN_FLIGHT; i++) piece[i] = load_streaming(first + i * width);
#pragma unroll
    for (int i = 0; i < IN_FLIGHT; i++) total += piece[i].x + piece[i].y + piece[i].z + piece[i].w;
  }
  for (int m = 16; m; m >>= 1) total += __shfl_xor_sync(0xffffffffu, total, m);
  if ((threadIdx.x & 31) == 0) atomicAdd(sum, total);
}

// to, from: (pieces, 4), pieces as above.
extern "C" __global__ void copy_all(uint4* to, const uint4* from, long long pieces) {
  pdl_launch_dependents();
  pdl_wait();
  const int width = blockDim.x;
  for (long long slice = blockIdx.x; slice < pieces / (width * IN_FLIGHT); slice += gridDim.x) {
    const long long first = slice * (width * IN_FLIGHT) + threadIdx.x;
    uint4 piece[IN_FLIGHT];
#pragma unroll
    for (int i = 0; i < IN_FLIGHT; i++) piece[i] = load_streaming(from + first + i * width);
#pragma unroll
    for (int i = 0; i < IN_FLIGHT; i++) to[first + i * width] = piece[i];
  }
}

// out: (multiprocessors, 2), cycles and nanoseconds; rows of multiprocessors that got no block stay as they are.
extern "C" __global__ void show_clocks(long long* out, int multiprocessors) {
  pdl_launch_dependents();
  pdl_wait();
  if (threadIdx.x != 0) return;
  const Clocks clocks = read_clocks();
  if (clocks.multiprocessor >= multiprocessors) return;
  out[2 * clocks.multiprocessor] = clocks.cycles;
  out[2 * clocks.multiprocessor + 1] = clocks.nanoseconds;
}

// out: (tiles,), tile = one warp's CHAINS accumulators summed up; random operands stay in registers.
extern "C" __global__ void mma_peak(int* out, int tiles, int rounds, unsigned seed) {
  pdl_launch_dependents();
  pdl_wait();
  const int warps = blockDim.x / 32, lane = threadIdx.x & 31;
  for (int tile = blockIdx.x * warps + threadIdx.x / 32; tile < tiles; tile += gridDim.x * warps) {
    const uint4 piece = random_piece(tile * 32LL + lane, seed);
    const unsigned a[4] = {piece.x, piece.y, piece.z, piece.w}, b[2] = {piece.x ^ piece.z, piece.y ^ piece.w};
    int sums[CHAINS][4];
#pragma unroll
    for (int c = 0; c < CHAINS; c++)
      for (int i = 0; i < 4; i++) sums[c][i] = c;
    for (int round = 0; round < rounds; round++) {
#pragma unroll
      for (int c = 0; c < CHAINS; c++) mma_m16n8k32_s8(sums[c], a, b, sums[c]);
    }
    unsigned total = 0;
#pragma unroll
    for (int c = 0; c < CHAINS; c++)
      for (int i = 0; i < 4; i++) total += (unsigned)sums[c][i];
    for (int m = 16; m; m >>= 1) total += __shfl_xor_sync(0xffffffffu, total, m);
    if (lane == 0) out[tile] = (int)total;
  }
}

// out: (values,), value = the sum of one thread's CHAINS, which converge to b / (1 - a), of the order of one.
extern "C" __global__ void fma_peak(float* out, int values, int rounds, unsigned seed) {
  pdl_launch_dependents();
  pdl_wait();
  const int threads = gridDim.x * blockDim.x;
  for (int value = blockIdx.x * blockDim.x + threadIdx.x; value < values; value += threads) {
    const uint4 piece = random_piece(value, seed);
    const float unit = 1.0f / 16777216.0f;  // of 24 bits: a is below 1/2, b below 1
    const float a = __fmul_rn(__int2float_rn((int)(piece.x >> 9)), unit);
    const float b = __fmul_rn(__int2float_rn((int)(piece.y >> 8)), unit);
    float sums[CHAINS];
#pragma unroll
    for (int c = 0; c < CHAINS; c++) sums[c] = __int2float_rn(c);
    for (int round = 0; round < rounds; round++) {
#pragma unroll
      for (int c = 0; c < CHAINS; c++) sums[c] = __fmaf_rn(a, sums[c], b);
    }
    float total = 0.0f;
#pragma unroll
    for (int c = 0; c < CHAINS; c++) total = __fadd_rn(total, sums[c]);
    out[value] = total;
  }
}

// A node of a graph with nothing to do: what remains is the cost of the node itself.
extern "C" __global__ void do_nothing() {
  pdl_launch_dependents();
  pdl_wait();
}
