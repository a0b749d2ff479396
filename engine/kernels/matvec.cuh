// matvec with quantised weights: few activation rows. One of the two skeletons of matmul.cuh.
#pragma once
#include "weights.cuh"

// ---- matvec: lane = weight row, a warp takes every warps-th tile, partial sums meet in shared memory ----

static constexpr int MATVEC_WARPS = 8, SPAN = 12288;  // columns staged at a time: any number of rounds of all warps

struct MatvecStage {
  uint4 codes[SPAN / PIECE_BYTES];
  float scales[SPAN / BLOCK], sums[SPAN / BLOCK];
  float partial[SPAN / CHUNK][TILE_ROWS];
};

template <class Op> struct Tile {
  static constexpr int WORDS = Op::CHUNKS * Op::PIECES * 4 + sizeof(typename Op::Header) / 4;
  static constexpr int IN_FLIGHT = WORDS <= 20 ? 4 : WORDS <= 40 ? 2 : 1;  // tiles that a lane holds in registers
  uint4 codes[Op::CHUNKS][Op::PIECES];
  typename Op::Header header;

  __device__ __forceinline__ void load(const unsigned char* tile, int row) {
    header = Op::header(tile, row);
#pragma unroll
    for (int c = 0; c < Op::CHUNKS; c++)
#pragma unroll
      for (int i = 0; i < Op::PIECES; i++) codes[c][i] = load_piece(tile, Op::piece(c, i), row);
  }
};

struct RegisterWords {
  const uint4* pieces;
  __device__ __forceinline__ unsigned operator()(int i, int t) const { return word_of(pieces[i], t); }
};

// A_c of chunk c of a tile; `chunk` counts from the start of the stage.
template <class Op>
__device__ __forceinline__ float chunk_sum(const Tile<Op>& tile, int c, const MatvecStage& stage, int chunk) {
  const RegisterWords words{tile.codes[c]};
  float a = 0.0f;
#pragma unroll
  for (int b = 0; b < CHUNK_BLOCKS; b++) {
    const int block = chunk * CHUNK_BLOCKS + b;
    const uint4 first = stage.codes[2 * block], second = stage.codes[2 * block + 1];
    int low_sum = 0, high_sum = 0;
#pragma unroll
    for (int t = 0; t < 4; t++) {
      unsigned low, high;
      Op::codes(low, high, words, b, t);
      low_sum = __dp4a((int)low, (int)word_of(first, t), low_sum);
      high_sum = __dp4a((int)high, (int)word_of(second, t), high_sum);
    }
    const typename Op::Scale scale = Op::scale(tile.header, c * CHUNK_BLOCKS + b);
    a = Op::step(a, scale, Op::dot(scale, low_sum, high_sum), stage.scales[block], Op::MINIMA ? stage.sums[block] : 0.0f);
  }
  return a;
}

// `count` blocks of 32 activations into shared memory; `first` counts the blocks of all rows.
template <class Op>
__device__ __forceinline__ void stage_blocks(MatvecStage& stage, const signed char* codes, const float* scales,
                                             const float* sums, long long first, int count) {
  const uint4* pieces = reinterpret_cast<const uint4*>(codes) + 2 * first;
  for (int i = threadIdx.x; i < 2 * count; i += blockDim.x) stage.codes[i] = pieces[i];
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    stage.scales[i] = scales[first + i];
    if constexpr (Op::MINIMA) stage.sums[i] = sums[first + i];
  }
}

template <class Op>
__device__ __forceinline__ void matvec(MatvecStage& stage, float* y, const signed char* codes, const float* scales,
                                       const float* sums, const unsigned char* weight, int rows, int outputs, int cols) {
  constexpr int IN_FLIGHT = Tile<Op>::IN_FLIGHT, SPAN_TILES = SPAN / Op::COLS;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int tiles = cols / Op::COLS, round = warps * IN_FLIGHT;
  const int items = (outputs + TILE_ROWS - 1) / TILE_ROWS * rows;
  Tile<Op> tile[IN_FLIGHT];
  const auto start = [&](int item) {
    const unsigned char* group = weight + (long long)(item / rows) * tiles * Op::TILE_BYTES;
#pragma unroll
    for (int i = 0; i < IN_FLIGHT; i++)
      if (const int k = i * warps + warp; k < tiles) tile[i].load(group + (long long)k * Op::TILE_BYTES, lane);
  };
  pdl_launch_dependents();
  if (blockIdx.x < items) start(blockIdx.x);
  pdl_wait();
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const unsigned char* group = weight + (long long)(item / rows) * tiles * Op::TILE_BYTES;
    const long long row = item % rows;
    float total = 0.0f;
    for (int first = 0; first < tiles; first += SPAN_TILES) {
      const int end = first + SPAN_TILES < tiles ? first + SPAN_TILES : tiles;
      stage_blocks<Op>(stage, codes, scales, sums, (row * cols + first * Op::COLS) / BLOCK,
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
        for (int chunk = 0; chunk < (end - first) * Op::CHUNKS; chunk++)
          total = __fadd_rn(total, stage.partial[chunk][lane]);
    }
    const int output = item / rows * TILE_ROWS + lane;
    if (warp == 0 && output < outputs) y[row * outputs + output] = total;
    if (item + (int)gridDim.x < items) start(item + gridDim.x);
  }
}
