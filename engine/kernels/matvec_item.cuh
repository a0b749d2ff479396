// One work item of a matvec that shares its launch with others: 32 outputs of one row.
#pragma once
#include "matvec.cuh"

// The float operations of one block of 32 (NUMERICS 6), for every tile.
template <class Tiles> struct Stepped : Tiles {
  static __device__ __forceinline__ float step(float a, const typename Tiles::Scale& scale, float dot, float x_scale,
                                               float x_sum) {
    if constexpr (Tiles::MINIMA) {
      a = __fmaf_rn(__fmul_rn(scale.scale, x_scale), dot, a);
      return __fmaf_rn(-scale.minimum, x_sum, a);
    } else {
      return __fmaf_rn(__fmul_rn(scale.d, x_scale), dot, a);
    }
  }
};

// 8-bit rows: codes (rows, cols), scales and sums (rows, cols / 32).
struct Activations {
  const signed char* codes;
  const float *scales, *sums;
  int cols;
};

// The sums of 32 outputs (tiles from `group` on) for one row, a lane of warp 0 each; undefined in other warps. Weights
// are asked for before pdl_wait, which every call executes. All threads take part; they meet at the end.
// MOST: tiles that a lane holds, at most.
template <class Op, int MOST = 4>
__device__ __forceinline__ float matvec_item(MatvecStage& stage, const unsigned char* group, const Activations& x,
                                             long long row) {
  constexpr int IN_FLIGHT = Tile<Op>::IN_FLIGHT < MOST ? Tile<Op>::IN_FLIGHT : MOST, SPAN_TILES = SPAN / Op::COLS;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int tiles = x.cols / Op::COLS, round = warps * IN_FLIGHT;
  Tile<Op> tile[IN_FLIGHT];
#pragma unroll
  for (int i = 0; i < IN_FLIGHT; i++)
    if (const int k = i * warps + warp; k < tiles) tile[i].load(group + (long long)k * Op::TILE_BYTES, lane);
  pdl_wait();
  float total = 0.0f;
  // Spans are a multiple of every round, so that a tile is in the registers of the warp that wants it.
  for (int first = 0; first < tiles; first += SPAN_TILES) {
    const int end = first + SPAN_TILES < tiles ? first + SPAN_TILES : tiles;
    stage_blocks<Op>(stage, x.codes, x.scales, x.sums, (row * x.cols + first * Op::COLS) / BLOCK,
                     (end - first) * Op::COLS / BLOCK);
    __syncthreads();
    for (int base = first; base < end; base += round) {
#pragma unroll
      for (int i = 0; i < IN_FLIGHT; i++) {
        const int k = base + i * warps + warp;
        if (k >= end) continue;
#pragma unroll
        for (int c = 0; c < Op::CHUNKS; c++) {
          const int chunk = (k - first) * Op::CHUNKS + c;
          stage.partial[chunk][lane] = chunk_sum<Op>(tile[i], c, stage, chunk);
        }
        if (k + round < tiles) tile[i].load(group + (long long)(k + round) * Op::TILE_BYTES, lane);
      }
    }
    __syncthreads();
    if (warp == 0)
#pragma unroll 4
      for (int chunk = 0; chunk < (end - first) * Op::CHUNKS; chunk++)
        total = __fadd_rn(total, stage.partial[chunk][lane]);
    __syncthreads();
  }
  return total;
}
