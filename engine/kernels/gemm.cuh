// gemm with quantised weights: many activation rows. One of the three skeletons of matmul.cuh.
#pragma once
#include "products.cuh"

// ---- gemm: a block makes 128 outputs of 64 activation rows, a warp 32 of 64; weights are the mma's A operand ----

static constexpr int GEMM_OUTPUTS = 128, GEMM_ROWS = 64, GEMM_THREADS = 128;
static constexpr int EIGHTS = GEMM_ROWS / 8;
static_assert(GEMM_OUTPUTS == GEMM_THREADS && 2 * GEMM_ROWS == GEMM_THREADS, "how the threads share the loads");

// Two neighbours that one load brings.
template <class T> struct __align__(2 * sizeof(T)) Two {
  T of[2];
};
// Of one activation row in one block.
struct __align__(8) SumAndScale {
  float sum, scale;
};
// One chunk of 128 columns in shared memory, weight codes still packed. Laid out so that the loads of a warp meet in no
// bank, and what one lane needs of two weight rows or of two activation rows lies together.
template <class Op> struct __align__(16) GemmStage {
  uint4 codes[Op::PIECES][GEMM_OUTPUTS];
  uint4 x[GEMM_ROWS][CHUNK / PIECE_BYTES + 1];                     // one more, so that eight rows meet in no bank
  Two<typename Op::Scale> scales[CHUNK_BLOCKS][GEMM_OUTPUTS / 2];  // rows 16i + j and 16i + j + 8 at 8i + j
  float4 x_scales[GEMM_ROWS], x_sums[Op::MINIMA ? GEMM_ROWS : 1];   // of the four blocks of a row
  // Both in pairs, if there are minima. In registers the sums are then even and the scales odd, where a weight's scale
  // is even and its minimum odd: two operands of one bank cost an instruction another cycle.
  Two<SumAndScale> terms[Op::MINIMA ? CHUNK_BLOCKS : 1][Op::MINIMA ? GEMM_ROWS / 2 : 1];
};

// Brings one chunk after the other from global to shared memory: codes and activations by copies that run beside the
// arithmetic, the scales of weights through registers, because they are unpacked on the way. A thread brings one weight
// row, pieces of four activation rows, and of one activation row the scales or the sums.
template <class Op> struct GemmCargo {
  static constexpr int X_ROWS = GEMM_THREADS / 8, X = GEMM_ROWS / X_ROWS;  // eight threads bring a row
  AsyncCopies<Op::PIECES + X + 1> copies;
  typename Op::Pair pair[Op::PAIRS];
  const unsigned char* tile;  // of the chunk to load next
  const signed char* x;       // this thread's first piece of it
  int block;                  // the first of it in this thread's row, counted over all activation rows

  __device__ __forceinline__ void start(const unsigned char* weight, int group, int tiles, const signed char* codes,
                                        int row_tile, int cols) {
    tile = weight + (long long)group * tiles * Op::TILE_BYTES;
    x = codes + (long long)(row_tile + (int)threadIdx.x / 8) * cols + threadIdx.x % 8 * PIECE_BYTES;
    block = (row_tile + (int)threadIdx.x % GEMM_ROWS) * (cols / BLOCK);
  }
  // `part`: which chunk of its tile.
  __device__ __forceinline__ void load_weight(GemmStage<Op>& stage, int part) {
    const int row = threadIdx.x % TILE_ROWS;
    const uint4* pieces = reinterpret_cast<const uint4*>(tile) + row;
#pragma unroll
    for (int i = 0; i < Op::PIECES; i++)
      copies.copy(&stage.codes[i][threadIdx.x], pieces + Op::piece(part, i) * TILE_ROWS);
#pragma unroll
    for (int i = 0; i < Op::PAIRS; i++) pair[i] = Op::pair(tile, row, part * CHUNK_BLOCKS + 2 * i);
    if (part == Op::CHUNKS - 1) tile += Op::TILE_BYTES;
  }
  // `rows`: how many of this item's tile there are.
  __device__ __forceinline__ void load_activations(GemmStage<Op>& stage, const float* scales, const float* sums,
                                                   int rows, int cols) {
#pragma unroll
    for (int i = 0; i < X; i++) {
      const int row = threadIdx.x / 8 + X_ROWS * i;
      const signed char* piece = x + (row < rows ? X_ROWS * i * cols : 0);
      copies.copy(&stage.x[row][threadIdx.x % 8], reinterpret_cast<const uint4*>(piece), row < rows);
    }
    x += CHUNK;
    const int row = threadIdx.x % GEMM_ROWS;
    const bool present = row < rows;
    if (threadIdx.x < GEMM_ROWS)
      copies.copy(&stage.x_scales[row], reinterpret_cast<const float4*>(scales + (present ? block : 0)), present);
    else if (Op::MINIMA)
      copies.copy(&stage.x_sums[row], reinterpret_cast<const float4*>(sums + (present ? block : 0)), present);
    block += CHUNK_BLOCKS;
  }
  __device__ __forceinline__ void store_scales(GemmStage<Op>& stage, int part) const {
    if (Op::CHUNKS == 1 || part == 0)
      store_scales_of<0>(stage);
    else
      store_scales_of<1>(stage);
  }
  // What the bits of a scale are depends on the part: known when compiled, it takes fewer instructions.
  template <int PART> __device__ __forceinline__ void store_scales_of(GemmStage<Op>& stage) const {
    const int output = threadIdx.x;
#pragma unroll
    for (int b = 0; b < CHUNK_BLOCKS; b++)
      stage.scales[b][output / 16 * 8 + output % 8].of[output / 8 % 2] =
          Op::scale(pair[b * Op::PAIRS / CHUNK_BLOCKS], PART * CHUNK_BLOCKS + b);
  }
  // Pairs up the scales or the sums that this thread's own copy brought. After the wait for it.
  __device__ __forceinline__ void store_terms(GemmStage<Op>& stage) const {
    const int row = threadIdx.x % GEMM_ROWS, is_scale = threadIdx.x < GEMM_ROWS;
    float term[CHUNK_BLOCKS];
    spread(term, is_scale ? stage.x_scales[row] : stage.x_sums[row]);
#pragma unroll
    for (int b = 0; b < CHUNK_BLOCKS; b++) {
      SumAndScale& pair = stage.terms[b][row / 2].of[row % 2];
      (is_scale ? pair.scale : pair.sum) = term[b];
    }
  }
};

template <class Op> struct SharedWords {
  const GemmStage<Op>& stage;
  int output;
  __device__ __forceinline__ unsigned operator()(int i, int t) const {
    return reinterpret_cast<const unsigned*>(&stage.codes[i][output])[t];
  }
};

// Adds one chunk to the 32 x 64 outputs of a warp: total[m][n][i] is weight row 16m + 8(i / 2) + lane / 4, activation
// row 8n + 2(lane % 4) + i % 2. Only the first `live` groups n of 8 activation rows count; whole fours of them are left
// out, because a branch at each would keep their steps from overlapping.
template <class Op>
__device__ __forceinline__ void add_chunk(float (&total)[2][EIGHTS][4], const GemmStage<Op>& stage, int live) {
  const int t = threadIdx.x % 4, group = threadIdx.x % 32 / 4, output = threadIdx.x / 32 * TILE_ROWS;
  unsigned packed[CHUNK_BLOCKS][2][4];
  Two<typename Op::Scale> scale[CHUNK_BLOCKS][2];
#pragma unroll
  for (int b = 0; b < CHUNK_BLOCKS; b++)
#pragma unroll
    for (int m = 0; m < 2; m++) {
      scale[b][m] = stage.scales[b][output / 2 + 8 * m + group];
#pragma unroll
      for (int half = 0; half < 2; half++)
        codes_of<Op>(packed[b][m][half], packed[b][m][2 + half],
                     SharedWords<Op>{stage, output + 16 * m + 8 * half + group}, b, t);
    }
#pragma unroll
  for (int n = 0; n < EIGHTS; n++) {
    if (n % 4 == 0 && n >= live) break;
    const unsigned* words = reinterpret_cast<const unsigned*>(stage.x[8 * n + group]);
    float x_scales[2][CHUNK_BLOCKS], x_sums[2][CHUNK_BLOCKS] = {}, a[2][4] = {};
    if constexpr (Op::MINIMA) {
#pragma unroll
      for (int b = 0; b < CHUNK_BLOCKS; b++) {
        const Two<SumAndScale> terms = stage.terms[b][4 * n + t];
#pragma unroll
        for (int i = 0; i < 2; i++) x_sums[i][b] = terms.of[i].sum, x_scales[i][b] = terms.of[i].scale;
      }
    } else {
#pragma unroll
      for (int i = 0; i < 2; i++) spread(x_scales[i], stage.x_scales[8 * n + 2 * t + i]);
    }
#pragma unroll
    for (int b = 0; b < CHUNK_BLOCKS; b++) {
      const unsigned x[2] = {words[8 * b + t], words[8 * b + 4 + t]};
#pragma unroll
      for (int m = 0; m < 2; m++) {
        float dot[4];
        tile_dots<Op>(dot, packed[b][m], x, scale[b][m].of);
#pragma unroll
        for (int i = 0; i < 4; i++)
          a[m][i] = Op::step(a[m][i], scale[b][m].of[i / 2], dot[i], x_scales[i % 2][b], x_sums[i % 2][b]);
      }
    }
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
      for (int i = 0; i < 4; i++) total[m][n][i] = __fadd_rn(total[m][n][i], a[m][i]);
  }
}

// What a warp made of `of`: put(value, row, output) for each of its outputs that there is.
template <class Put>
__device__ __forceinline__ void each_output(float (&total)[2][EIGHTS][4], const Product& of, int group, int row_tile,
                                            int rows, const Put& put) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < 2; m++)
#pragma unroll
    for (int n = 0; n < EIGHTS; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int output = group * TILE_ROWS + 16 * m + 8 * (i / 2) + lane / 4;
        const int row = row_tile + 8 * n + 2 * (lane % 4) + i % 2;
        if (output < of.outputs && row < rows) put(total[m][n][i], row, output);
      }
}

// Row group `group` of the weight of `of`, a warp's 32 outputs, perhaps past its end, by 64 rows from row_tile on. Two stages.
template <class Op>
__device__ __forceinline__ void gemm_item(GemmStage<Op>* stages, const Activations& x, const Product& of, int group,
                                          int row_tile) {
  const int chunks = x.cols / CHUNK, rows = x.rows - row_tile;
  const bool has = group * TILE_ROWS < of.outputs;
  GemmCargo<Op> cargo;
  cargo.start(of.weight, group, x.cols / Op::COLS, x.codes, row_tile, x.cols);
  __syncthreads();  // the stages of the item before are used up
  if (has) cargo.load_weight(stages[0], 0);
  pdl_wait();
  cargo.load_activations(stages[0], x.scales, x.sums, rows, x.cols);
  float total[2][EIGHTS][4] = {};
  for (int chunk = 0; chunk < chunks; chunk++) {
    GemmStage<Op>&stage = stages[chunk % 2], &next = stages[(chunk + 1) % 2];
    if (has) cargo.store_scales(stage, chunk % Op::CHUNKS);
    cargo.copies.wait();
    if constexpr (Op::MINIMA) cargo.store_terms(stage);
    __syncthreads();  // this chunk is there, and the one before used up
    if (chunk + 1 < chunks) {
      if (has) cargo.load_weight(next, (chunk + 1) % Op::CHUNKS);
      cargo.load_activations(next, x.scales, x.sums, rows, x.cols);
    }
    if (has) add_chunk<Op>(total, stage, (rows + 7) / 8);
  }
  if (of.added)  // all of them are on their way before the first sum is stored, perhaps over one of them
    each_output(total, of, group, row_tile, x.rows, [&](float& value, long long row, int output) {
      value = __fadd_rn(value, of.added[row * of.stride + output]);
    });
  each_output(total, of, group, row_tile, x.rows,
              [&](float value, long long row, int output) { of.y[row * of.outputs + output] = value; });
}

// All products on one block; shared: two stages.
template <class Op>
__device__ __forceinline__ void gemm_products(unsigned char* shared, const Activations& x, const Product& a,
                                              const Product& b, const Product& c) {
  const Products<Op, Op> work(a, b, c, (x.rows + GEMM_ROWS - 1) / GEMM_ROWS, GEMM_OUTPUTS / STRIP_ROWS);
  pdl_launch_dependents();
  if ((int)blockIdx.x >= work.items) pdl_wait();  // no item: the wait of this block, without which its end says nothing
  for (int item = blockIdx.x; item < work.items; item += gridDim.x) {
    const int group = work.strip(item, 2 * (threadIdx.x / 32)).group, row_tile = work.band(item) * GEMM_ROWS;
    gemm_item(reinterpret_cast<GemmStage<Op>*>(shared), x, work.of(item), group, row_tile);
  }
}
