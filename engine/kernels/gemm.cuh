// gemm with quantised weights: many activation rows. One of the two skeletons of matmul.cuh.
#pragma once
#include "weights.cuh"

// ---- gemm: a block makes 128 outputs of 64 activation rows, a warp 32 of 32; weights are the A operand of the mma ----

static constexpr int GEMM_OUTPUTS = 128, GEMM_ROWS = 64, GEMM_THREADS = 256;
static constexpr int X_WORDS = CHUNK / 4 + 4, X_SCALES = GEMM_ROWS + 8;  // padded so that no two lanes meet in a bank

// One chunk of 128 columns in shared memory, weight codes still packed.
template <class Op> struct GemmStage {
  uint4 codes[Op::PIECES][GEMM_OUTPUTS];
  typename Op::Scale scales[CHUNK_BLOCKS][GEMM_OUTPUTS];
  uint4 x[GEMM_ROWS][X_WORDS / 4];
  float x_scales[CHUNK_BLOCKS][X_SCALES], x_sums[CHUNK_BLOCKS][X_SCALES];
};

// What one thread carries from global to shared memory: every second piece of one weight row, one block of one
// activation row.
template <class Op> struct GemmCargo {
  uint4 codes[(Op::PIECES + 1) / 2];
  typename Op::Pair pair;
  uint4 x[2];
  float x_scale, x_sum;

  __device__ __forceinline__ void load_weight(const unsigned char* weight, int group, int tiles, int chunk) {
    const unsigned char* tile = weight + ((long long)group * tiles + chunk / Op::CHUNKS) * Op::TILE_BYTES;
    const int row = threadIdx.x % TILE_ROWS, half = threadIdx.x / GEMM_OUTPUTS;
    pair = Op::pair(tile, row, chunk % Op::CHUNKS * CHUNK_BLOCKS + 2 * half);
#pragma unroll
    for (int i = 0; i < (Op::PIECES + 1) / 2; i++)
      if (2 * i + half < Op::PIECES) codes[i] = load_piece(tile, Op::piece(chunk % Op::CHUNKS, 2 * i + half), row);
  }
  // `block` counts the blocks of 32 of all activation rows; negative is past the last row.
  __device__ __forceinline__ void load_activations(const signed char* codes, const float* scales, const float* sums,
                                                   int block) {
    x[0] = x[1] = make_uint4(0, 0, 0, 0);
    x_scale = x_sum = 0.0f;
    if (block < 0) return;
    const uint4* pieces = reinterpret_cast<const uint4*>(codes) + 2LL * block;
    x[0] = pieces[0];
    x[1] = pieces[1];
    x_scale = scales[block];
    if constexpr (Op::MINIMA) x_sum = sums[block];
  }
  __device__ __forceinline__ void store_weight(GemmStage<Op>& stage, int chunk) const {
    const int output = threadIdx.x % GEMM_OUTPUTS, half = threadIdx.x / GEMM_OUTPUTS;
#pragma unroll
    for (int i = 0; i < (Op::PIECES + 1) / 2; i++)
      if (2 * i + half < Op::PIECES) stage.codes[2 * i + half][output] = codes[i];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const int b = 2 * half + i;
      stage.scales[b][output] = Op::scale(pair, chunk % Op::CHUNKS * CHUNK_BLOCKS + b);
    }
  }
  __device__ __forceinline__ void store_activations(GemmStage<Op>& stage) const {
    const int row = threadIdx.x / CHUNK_BLOCKS, b = threadIdx.x % CHUNK_BLOCKS;
    stage.x[row][2 * b] = x[0];
    stage.x[row][2 * b + 1] = x[1];
    stage.x_scales[b][row] = x_scale;
    if constexpr (Op::MINIMA) stage.x_sums[b][row] = x_sum;
  }
};

template <class Op> struct SharedWords {
  const GemmStage<Op>& stage;
  int output;
  __device__ __forceinline__ unsigned operator()(int i, int t) const {
    return reinterpret_cast<const unsigned*>(&stage.codes[i][output])[t];
  }
};

// The four float(I) (float(J) for Q6_K) of one mma tile; elements 0, 1 belong to the first row's scale, 2, 3 to the second's.
// With C = the bits of 1.5 * 2^23 the integer result, read as a float, is 1.5 * 2^23 + I exactly while |I| < 2^22 (the
// largest, of Q8_0, is 2^19), and the subtraction is exact too: the same float(I) as a conversion, at full rate.
template <class Op>
__device__ __forceinline__ void tile_dots(float (&dot)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                          const typename Op::Scale (&scale)[2]) {
  if constexpr (Op::HALVES) {
    const int zero[4] = {0, 0, 0, 0};
    const unsigned a_low[2] = {a[0], a[1]}, a_high[2] = {a[2], a[3]}, b_low[1] = {b[0]}, b_high[1] = {b[1]};
    int low[4], high[4];
    mma_m16n8k16_s8(low, a_low, b_low, zero);
    mma_m16n8k16_s8(high, a_high, b_high, zero);
#pragma unroll
    for (int i = 0; i < 4; i++) dot[i] = Op::dot(scale[i / 2], low[i], high[i]);
  } else {
    const int start[4] = {0x4b400000, 0x4b400000, 0x4b400000, 0x4b400000};
    int sum[4];
    mma_m16n8k32_s8(sum, a, b, start);
#pragma unroll
    for (int i = 0; i < 4; i++) dot[i] = __fsub_rn(__int_as_float(sum[i]), 12582912.0f);
  }
}

// Adds one chunk to the 32 x 32 outputs of a warp: total[m][n][i] is weight row 16m + 8(i / 2) + lane / 4, activation
// row 8n + 2(lane % 4) + i % 2. With ALL every group n of 8 activation rows is worked on, else the first `live` ones.
template <class Op, bool ALL>
__device__ __forceinline__ void add_chunk(float (&total)[2][4][4], const GemmStage<Op>& stage, int live) {
  const int warp = threadIdx.x / 32, t = threadIdx.x % 4, group = threadIdx.x % 32 / 4;
  const int output = warp % 4 * TILE_ROWS + group, row = warp / 4 * 32;
#pragma unroll
  for (int m = 0; m < 2; m++) {
    float a[4][4] = {};
#pragma unroll 1
    for (int b = 0; b < CHUNK_BLOCKS; b++) {
      unsigned packed[4];
      typename Op::Scale scale[2];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int at = output + 16 * m + 8 * half;
        Op::codes(packed[half], packed[2 + half], SharedWords<Op>{stage, at}, b, t);
        scale[half] = stage.scales[b][at];
      }
#pragma unroll
      for (int n = 0; n < 4; n++) {
        if (!ALL && n >= live) continue;
        const unsigned* words = reinterpret_cast<const unsigned*>(stage.x[row + 8 * n + group]);
        const unsigned x[2] = {words[8 * b + t], words[8 * b + 4 + t]};
        const int first = row + 8 * n + 2 * t;
        float dot[4];
        tile_dots<Op>(dot, packed, x, scale);
#pragma unroll
        for (int i = 0; i < 4; i++)
          a[n][i] = Op::step(a[n][i], scale[i / 2], dot[i], stage.x_scales[b][first + i % 2],
                             Op::MINIMA ? stage.x_sums[b][first + i % 2] : 0.0f);
      }
    }
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) total[m][n][i] = __fadd_rn(total[m][n][i], a[n][i]);
  }
}

template <class Op>
__device__ __forceinline__ void gemm(GemmStage<Op>& stage, float* y, const signed char* codes, const float* scales,
                                     const float* sums, const unsigned char* weight, int rows, int outputs, int cols) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int chunks = cols / CHUNK, tiles = cols / Op::COLS, groups = (outputs + TILE_ROWS - 1) / TILE_ROWS;
  const int row_tiles = (rows + GEMM_ROWS - 1) / GEMM_ROWS;
  const int items = (outputs + GEMM_OUTPUTS - 1) / GEMM_OUTPUTS * row_tiles;
  GemmCargo<Op> cargo;
  pdl_launch_dependents();
  if ((int)blockIdx.x >= items) pdl_wait();  // no item: the wait of this block, without which its end says nothing
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const int group = item / row_tiles * (GEMM_OUTPUTS / TILE_ROWS) + warp % 4;  // loaded and worked on by this warp
    const int row_tile = item % row_tiles * GEMM_ROWS, first_row = row_tile + warp / 4 * 32;
    const int carried = row_tile + (int)threadIdx.x / CHUNK_BLOCKS;
    int block = carried < rows ? carried * (cols / BLOCK) + (int)threadIdx.x % CHUNK_BLOCKS : -(1 << 30);
    const int live = group < groups ? (rows - first_row + 7) / 8 : 0;
    if (group < groups) cargo.load_weight(weight, group, tiles, 0);
    pdl_wait();
    cargo.load_activations(codes, scales, sums, block);
    float total[2][4][4] = {};
    for (int chunk = 0; chunk < chunks; chunk++) {
      __syncthreads();
      if (group < groups) cargo.store_weight(stage, chunk);
      cargo.store_activations(stage);
      __syncthreads();
      if (chunk + 1 < chunks) {
        if (group < groups) cargo.load_weight(weight, group, tiles, chunk + 1);
        block += CHUNK_BLOCKS;
        cargo.load_activations(codes, scales, sums, block);
      }
      if (live > 0 && live < 4) add_chunk<Op, false>(total, stage, live);
      if (live >= 4) add_chunk<Op, true>(total, stage, live);
    }
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
      for (int n = 0; n < 4; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int output = group * TILE_ROWS + 16 * m + 8 * (i / 2) + lane / 4;
          const long long row = first_row + 8 * n + 2 * (lane % 4) + i % 2;
          if (output < outputs && row < rows) y[row * outputs + output] = total[m][n][i];
        }
  }
}
