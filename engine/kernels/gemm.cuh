// gemm with quantised weights: many activation rows. One of the three skeletons of matmul.cuh.
#pragma once
#include "products.cuh"

// ---- gemm: a block makes 128 outputs of 64 activation rows, a warp 32 of 64; weights are the mma's A operand ----

static constexpr int GEMM_OUTPUTS = 128, GEMM_ROWS = 64, GEMM_THREADS = 128;
static constexpr int EIGHTS = GEMM_ROWS / 8;
static_assert(GEMM_OUTPUTS == GEMM_THREADS && 2 * GEMM_ROWS == GEMM_THREADS, "how the threads share the loads");

// Of two neighbouring blocks, word by word, those of the second first. In registers the words of an even block are then
// odd and those of an odd one even, where the scales and sums of activations lie the other way round: two operands of
// one bank cost an instruction another cycle.
template <class T> struct __align__(2 * sizeof(T)) Crossed {
  static constexpr int WORDS = sizeof(T) / 4;
  unsigned words[WORDS][2];
  __device__ __forceinline__ void put(const T& first, const T& second) {
#pragma unroll
    for (int w = 0; w < WORDS; w++) {
      words[w][0] = reinterpret_cast<const unsigned*>(&second)[w];
      words[w][1] = reinterpret_cast<const unsigned*>(&first)[w];
    }
  }
  __device__ __forceinline__ void take(T& first, T& second) const {
#pragma unroll
    for (int w = 0; w < WORDS; w++) {
      reinterpret_cast<unsigned*>(&second)[w] = words[w][0];
      reinterpret_cast<unsigned*>(&first)[w] = words[w][1];
    }
  }
};
// One chunk of 128 columns in shared memory, weight codes still packed. Laid out so that the loads of a warp meet in no
// bank.
template <class Op> struct __align__(16) GemmStage {
  uint4 codes[Op::PIECES][GEMM_OUTPUTS];
  uint4 x[GEMM_ROWS][CHUNK / PIECE_BYTES + 1];  // one more, so that eight rows meet in no bank
  Crossed<typename Op::Scale> scales[CHUNK_BLOCKS / 2][GEMM_OUTPUTS];
  float4 x_terms[(1 + Op::MINIMA) * GEMM_ROWS];  // of the four blocks of a row: the scales of all rows, then the sums
};

// Where a chunk of a weight begins.
template <class Op> struct ChunkPlace {
  const unsigned char* tile;
  int part;  // which chunk of its tile
  __device__ __forceinline__ void advance() {
    if (Op::CHUNKS == 1 || part == 1) tile += Op::TILE_BYTES;
    part = Op::CHUNKS == 1 ? 0 : part ^ 1;
  }
};

// Brings one chunk after the other from global to shared memory while the one before is added: codes and activations by
// copies that run beside the arithmetic, the scales of weights through registers, because they are unpacked on the way:
// they leave global memory two chunks ahead, so that unpacking them never waits.
// A thread brings one weight row, pieces of four activation rows, and of one activation row the scales or the sums.
// Of rows past the last the last one is brought: no output is made of them.
template <class Op> struct GemmCargo {
  static constexpr int X_ROWS = GEMM_THREADS / 8, X = GEMM_ROWS / X_ROWS;  // eight threads bring a row
  AsyncCopies<Op::PIECES + X + 1> copies;
  ChunkPlace<Op> codes, header;  // of the next chunk to bring
  typename Op::Pair pair[Op::PAIRS];
  int pair_part;
  const signed char* x;  // this thread's piece of the chunk in the first activation row
  unsigned x_row[X];     // how far behind this thread's rows lie
  const float* terms;    // the scales or the sums

  __device__ __forceinline__ void start(const unsigned char* weight, int group, const Activations& from, int row_tile) {
    const int rows = from.rows - row_tile, tiles = from.cols / Op::COLS, t = threadIdx.x;
    codes.tile = header.tile = weight + (long long)group * tiles * Op::TILE_BYTES;
    codes.part = header.part = 0;
    x = from.codes + (long long)row_tile * from.cols + t % 8 * PIECE_BYTES;
#pragma unroll
    for (int i = 0; i < X; i++) x_row[i] = min(t / 8 + X_ROWS * i, rows - 1) * from.cols;
    terms = (t < GEMM_ROWS ? from.scales : from.sums) + (row_tile + min(t % GEMM_ROWS, rows - 1)) * (from.cols / BLOCK);
  }
  // Here and below: without `present` there is no such chunk.
  __device__ __forceinline__ void load_scales(bool present) {
    if (present) {
#pragma unroll
      for (int i = 0; i < Op::PAIRS; i++)
        pair[i] = Op::pair(header.tile, threadIdx.x % TILE_ROWS, header.part * CHUNK_BLOCKS + 2 * i);
    }
    pair_part = header.part;
    header.advance();
  }
  __device__ __forceinline__ void store_scales(GemmStage<Op>& stage) const {
#pragma unroll
    for (int b = 0; b < CHUNK_BLOCKS; b += 2) {
      const auto of = Op::chunk(pair[b * Op::PAIRS / CHUNK_BLOCKS], pair_part);
      Crossed<typename Op::Scale> scales;
      scales.put(Op::scale(of, b), Op::scale(of, b + 1));
      stage.scales[b / 2][threadIdx.x] = scales;
    }
  }
  __device__ __forceinline__ void load_codes(GemmStage<Op>& stage, bool present) {
    const uint4* pieces = reinterpret_cast<const uint4*>(codes.tile) + threadIdx.x % TILE_ROWS;
#pragma unroll
    for (int i = 0; i < Op::PIECES; i++) {
      const int first = Op::piece(0, i), step = Op::piece(1, i) - first;
      copies.copy(&stage.codes[i][threadIdx.x], pieces + codes.part * step * TILE_ROWS + first * TILE_ROWS, present);
    }
    codes.advance();
  }
  __device__ __forceinline__ void load_activations(GemmStage<Op>& stage, bool present) {
#pragma unroll
    for (int i = 0; i < X; i++)
      copies.copy(&stage.x[threadIdx.x / 8 + X_ROWS * i][threadIdx.x % 8], reinterpret_cast<const uint4*>(x + x_row[i]),
                  present);
    if (Op::MINIMA || threadIdx.x < GEMM_ROWS)
      copies.copy(&stage.x_terms[threadIdx.x], reinterpret_cast<const float4*>(terms), present);
    x += CHUNK;
    terms += CHUNK_BLOCKS;
  }
};

template <class Op> struct SharedWords {
  const GemmStage<Op>& stage;
  int output;
  __device__ __forceinline__ unsigned operator()(int i, int t) const {
    return reinterpret_cast<const unsigned*>(&stage.codes[i][output])[t];
  }
};

// Compilers for older GPUs, and for types with halves all of them, load so far ahead that registers do not suffice: a
// __syncwarp holds them back.
#ifdef HOPPER
static constexpr bool HELD_BACK = false;
#else
static constexpr bool HELD_BACK = true;
#endif

// Adds one chunk to the 32 x 64 outputs of a warp: total[m][n][i] is weight row 16m + 8(i / 2) + lane / 4, activation
// row 8n + 2(lane % 4) + i % 2. Only the first `live` groups n of 8 activation rows count; whole fours of them are left
// out, because a branch at each would keep their steps from overlapping. beside(n) is done once for n = 0 .. 3.
template <class Op, class Beside>
__device__ __forceinline__ void add_chunk(float (&total)[2][EIGHTS][4], const GemmStage<Op>& stage, int live,
                                          const Beside& beside) {
  const int t = threadIdx.x % 4, group = threadIdx.x % 32 / 4, output = threadIdx.x / 32 * TILE_ROWS;
  unsigned packed[CHUNK_BLOCKS][2][4];
  typename Op::Scale scale[CHUNK_BLOCKS][2][2];
#pragma unroll
  for (int b = 0; b < CHUNK_BLOCKS; b++)
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int row = output + 16 * m + 8 * half + group;
        codes_of<Op>(packed[b][m][half], packed[b][m][2 + half], SharedWords<Op>{stage, row}, b, t);
        if (b % 2 == 0) stage.scales[b / 2][row].take(scale[b][m][half], scale[b + 1][m][half]);
        if constexpr (Op::HALVES) scale[b][m][half].d = scale[0][m][half].d;  // that of a whole tile: fewer registers
      }
  if constexpr (HELD_BACK) __syncwarp();
#pragma unroll
  for (int n = 0; n < EIGHTS; n++) {
    if (n == 4 && live <= n) break;
    const unsigned* words = reinterpret_cast<const unsigned*>(stage.x[8 * n + group]);
    float x_scales[2][CHUNK_BLOCKS], x_sums[2][CHUNK_BLOCKS] = {}, a[2][4] = {};
#pragma unroll
    for (int i = 0; i < 2; i++) {
      spread(x_scales[i], stage.x_terms[8 * n + 2 * t + i]);
      if (Op::MINIMA) spread(x_sums[i], stage.x_terms[GEMM_ROWS + 8 * n + 2 * t + i]);
    }
#pragma unroll
    for (int b = 0; b < CHUNK_BLOCKS; b++) {
      const unsigned x[2] = {words[8 * b + t], words[8 * b + 4 + t]};
#pragma unroll
      for (int m = 0; m < 2; m++) {
        float dot[4];
        tile_dots<Op>(dot, packed[b][m], x, scale[b][m]);
#pragma unroll
        for (int i = 0; i < 4; i++)
          a[m][i] = Op::step(a[m][i], scale[b][m][i / 2], dot[i], x_scales[i % 2][b], x_sums[i % 2][b]);
      }
    }
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
      for (int i = 0; i < 4; i++) total[m][n][i] = __fadd_rn(total[m][n][i], a[m][i]);
    if constexpr (HELD_BACK) __syncwarp();
    if (n < 4) beside(n);
    if constexpr (HELD_BACK || Op::HALVES) __syncwarp();
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
  const int chunks = x.cols / CHUNK, live = (x.rows - row_tile + 7) / 8;
  GemmCargo<Op> cargo;
  cargo.start(of.weight, min(group, (of.outputs - 1) / TILE_ROWS), x, row_tile);
  __syncthreads();  // the stages of the item before are used up
  cargo.load_scales(true);
  cargo.load_codes(stages[0], true);
  pdl_wait();
  cargo.load_activations(stages[0], true);
  cargo.store_scales(stages[0]);
  cargo.load_scales(chunks > 1);
  float total[2][EIGHTS][4] = {};
  for (int chunk = 0; chunk < chunks; chunk++) {
    GemmStage<Op>&stage = stages[chunk % 2], &next = stages[(chunk + 1) % 2];
    const bool one = chunk + 1 < chunks, two = chunk + 2 < chunks;  // whether there are so many more
    cargo.copies.wait();
    __syncthreads();  // this chunk is there, and the one before used up
    add_chunk(total, stage, live, [&](int n) {
      if (n == 0) cargo.load_activations(next, one);
      if (n == 1) cargo.load_codes(next, one);
      if (n == 3) cargo.store_scales(next), cargo.load_scales(two);
    });
  }
  cargo.copies.wait();
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
