// The two skeletons of a matmul with float weights (NUMERICS 6): matvec for few rows, gemm for many, equal bits.
//
// Type is F32, F16 or BF16 of weights.cuh. Both form A_c as one chain of fmaf over the 128 columns of chunk c from +0,
// and fold the chunks from the left. Columns past the last are +0 in x and weight: no bit moves (NUMERICS 1, Padding).
// `outputs` is the number of weight rows, `rows` the number of activation rows, `cols` any number.
#pragma once
#include "weights.cuh"

template <class Type> struct FloatTile {
  static constexpr int PIECES = CHUNK / Type::VALUES, BYTES = TILE_ROWS * PIECE_BYTES * PIECES;
};

// ---- matvec: lane = weight row, a warp takes every warps-th chunk, partial sums meet in shared memory ----

static constexpr int FLOAT_SPAN = 6144;  // columns staged at a time

struct FloatStage {
  float4 x[FLOAT_SPAN / 4];
  float partial[FLOAT_SPAN / CHUNK][TILE_ROWS];
};

// A_c of one chunk: 16 pieces are on their way at a time.
template <class Type>
__device__ __forceinline__ float float_chunk_sum(const unsigned char* tile, int lane, const float4* x) {
  constexpr int PIECES = FloatTile<Type>::PIECES, IN_FLIGHT = 16;
  float a = 0.0f;
#pragma unroll 1
  for (int first = 0; first < PIECES; first += IN_FLIGHT) {
    uint4 piece[IN_FLIGHT];
#pragma unroll
    for (int i = 0; i < IN_FLIGHT; i++) piece[i] = load_piece(tile, first + i, lane);
#pragma unroll
    for (int i = 0; i < IN_FLIGHT; i++)
#pragma unroll
      for (int j = 0; j < Type::VALUES; j += 4) {
        const float4 v = x[((first + i) * Type::VALUES + j) / 4];
        a = __fmaf_rn(Type::value(piece[i], j), v.x, a);
        a = __fmaf_rn(Type::value(piece[i], j + 1), v.y, a);
        a = __fmaf_rn(Type::value(piece[i], j + 2), v.z, a);
        a = __fmaf_rn(Type::value(piece[i], j + 3), v.w, a);
      }
  }
  return a;
}

template <class Type>
__device__ __forceinline__ void float_matvec(FloatStage& stage, float* y, const float* x, const unsigned char* weight,
                                             int rows, int outputs, int cols) {
  constexpr int SPAN_CHUNKS = FLOAT_SPAN / CHUNK;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const int chunks = (cols + CHUNK - 1) / CHUNK, items = (outputs + TILE_ROWS - 1) / TILE_ROWS * rows;
  pdl_launch_dependents();
  pdl_wait();
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const unsigned char* group = weight + (long long)(item / rows) * chunks * FloatTile<Type>::BYTES;
    const long long row = item % rows;
    float total = 0.0f;
    for (int first = 0; first < chunks; first += SPAN_CHUNKS) {
      const int end = first + SPAN_CHUNKS < chunks ? first + SPAN_CHUNKS : chunks;
      float* staged = &stage.x[0].x;
      for (int i = threadIdx.x; i < (end - first) * CHUNK; i += blockDim.x)
        staged[i] = first * CHUNK + i < cols ? x[row * cols + first * CHUNK + i] : 0.0f;
      __syncthreads();
      for (int chunk = first + warp; chunk < end; chunk += warps)
        stage.partial[chunk - first][lane] = float_chunk_sum<Type>(
            group + (long long)chunk * FloatTile<Type>::BYTES, lane, stage.x + (chunk - first) * (CHUNK / 4));
      __syncthreads();
      if (warp == 0)
        for (int chunk = first; chunk < end; chunk++) total = __fadd_rn(total, stage.partial[chunk - first][lane]);
    }
    const int output = item / rows * TILE_ROWS + lane;
    if (warp == 0 && output < outputs) y[row * outputs + output] = total;
  }
}

// ---- gemm: a block makes 128 outputs of 64 activation rows, a thread 8 of 4; 32 columns at a time ----

static constexpr int FLOAT_OUTPUTS = 128, FLOAT_ROWS = 64, STEP = 32, FLOAT_THREADS = 256;

// The columns of one step, transposed, so that a thread reads its outputs and rows four at a time.
struct FloatGemmStage {
  float4 weight[STEP][FLOAT_OUTPUTS / 4 + 1];
  float4 x[STEP][FLOAT_ROWS / 4 + 1];
};

// What one thread carries from global to shared memory: pieces of one weight row, one column of several x rows.
template <class Type> struct FloatCargo {
  static constexpr int STEP_PIECES = STEP / Type::VALUES;                           // of a weight row
  static constexpr int PIECES = STEP_PIECES * FLOAT_OUTPUTS / FLOAT_THREADS;        // of a thread
  static constexpr int WARPS = FLOAT_THREADS / 32, COLUMNS = FLOAT_ROWS / WARPS;
  uint4 pieces[PIECES];
  float x[COLUMNS];

  __device__ __forceinline__ void load_weight(const unsigned char* weight, int group, int chunks, int step) {
    const int at = step % (CHUNK / STEP) * STEP_PIECES + threadIdx.x / FLOAT_OUTPUTS;
    const unsigned char* tile = weight + ((long long)group * chunks + step * STEP / CHUNK) * FloatTile<Type>::BYTES;
#pragma unroll
    for (int i = 0; i < PIECES; i++) pieces[i] = load_piece(tile, at + 2 * i, threadIdx.x % TILE_ROWS);
  }
  __device__ __forceinline__ void load_x(const float* values, int first_row, int rows, int cols, int step) {
    const int col = step * STEP + threadIdx.x % 32, row = first_row + threadIdx.x / 32;
#pragma unroll
    for (int i = 0; i < COLUMNS; i++)
      x[i] = col < cols && row + i * WARPS < rows ? values[(long long)(row + i * WARPS) * cols + col] : 0.0f;
  }
  __device__ __forceinline__ void store_weight(FloatGemmStage& stage) const {
    const int output = threadIdx.x % FLOAT_OUTPUTS, half = threadIdx.x / FLOAT_OUTPUTS;
#pragma unroll
    for (int i = 0; i < PIECES; i++)
#pragma unroll
      for (int j = 0; j < Type::VALUES; j++)
        (&stage.weight[(2 * i + half) * Type::VALUES + j][0].x)[output] = Type::value(pieces[i], j);
  }
  __device__ __forceinline__ void store_x(FloatGemmStage& stage) const {
#pragma unroll
    for (int i = 0; i < COLUMNS; i++) (&stage.x[threadIdx.x % 32][0].x)[threadIdx.x / 32 + i * WARPS] = x[i];
  }
};

// Adds the columns of one step to the chain of each of a thread's 8 x 4 outputs.
__device__ __forceinline__ void add_step(float (&a)[8][4], const FloatGemmStage& stage) {
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
#pragma unroll 2
  for (int k = 0; k < STEP; k++) {
    const float4 low = stage.weight[k][tx], high = stage.weight[k][16 + tx], v = stage.x[k][ty];
    const float w[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}, values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
      for (int j = 0; j < 4; j++) a[i][j] = __fmaf_rn(w[i], values[j], a[i][j]);
  }
}

template <class Type>
__device__ __forceinline__ void float_gemm(FloatGemmStage& stage, float* y, const float* x, const unsigned char* weight,
                                           int rows, int outputs, int cols) {
  const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
  const int chunks = (cols + CHUNK - 1) / CHUNK, steps = (cols + STEP - 1) / STEP;
  const int groups = (outputs + TILE_ROWS - 1) / TILE_ROWS, row_tiles = (rows + FLOAT_ROWS - 1) / FLOAT_ROWS;
  const int items = (outputs + FLOAT_OUTPUTS - 1) / FLOAT_OUTPUTS * row_tiles;
  FloatCargo<Type> cargo = {};  // outputs past the last group keep what is in it: nobody reads their sums
  pdl_launch_dependents();
  pdl_wait();
  for (int item = blockIdx.x; item < items; item += gridDim.x) {
    const int first_output = item / row_tiles * FLOAT_OUTPUTS, first_row = item % row_tiles * FLOAT_ROWS;
    const int group = first_output / TILE_ROWS + threadIdx.x % FLOAT_OUTPUTS / TILE_ROWS;
    const bool stored = group < groups, live = first_output + 4 * tx < outputs && first_row + 4 * ty < rows;
    if (stored) cargo.load_weight(weight, group, chunks, 0);
    cargo.load_x(x, first_row, rows, cols, 0);
    float total[8][4] = {}, a[8][4] = {};
    for (int step = 0; step < steps; step++) {
      __syncthreads();
      cargo.store_weight(stage);
      cargo.store_x(stage);
      __syncthreads();
      if (step + 1 < steps) {
        if (stored) cargo.load_weight(weight, group, chunks, step + 1);
        cargo.load_x(x, first_row, rows, cols, step + 1);
      }
      if (live) add_step(a, stage);
      if (step % (CHUNK / STEP) == CHUNK / STEP - 1 || step == steps - 1) {
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
          for (int j = 0; j < 4; j++) {
            total[i][j] = __fadd_rn(total[i][j], a[i][j]);
            a[i][j] = 0.0f;
          }
      }
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
      for (int i = 0; i < 8; i++) {
        const int output = first_output + i / 4 * 64 + 4 * tx + i % 4;
        const long long row = first_row + 4 * ty + j;
        if (output < outputs && row < rows) y[row * outputs + output] = total[i][j];
      }
  }
}
