// few: a few activation rows by quantised weights, each weight read once. One of the three skeletons of matmul.cuh.
//
// Items, strips, steps and rings are those of matvec.cuh, but a band is eight activation rows, or those that are left. The
// weights of a strip are the mma's A operand and the rows of the band its columns: lane (g, t) = (lane / 4, lane % 4) makes
// the sums of chunks of outputs g and g + 8 for rows 2t and 2t + 1. Afterwards each warp folds those of one row.
#pragma once
#include "matvec.cuh"
#include "tile_dots.cuh"

static constexpr int FEW_ROWS = 8, FEW_DEPTH = 2, FEW_RESIDENT = 2;  // of a band; of a ring; blocks on a multiprocessor
static constexpr int NARROW_ROWS = FEW_ROWS / STEP_CHUNKS;  // of which the chunks of a step fit into the columns together
static_assert(FEW_ROWS == MATVEC_WARPS, "a warp folds the sums of one row");

__device__ __forceinline__ int few_bands(int rows) { return (rows + FEW_ROWS - 1) / FEW_ROWS; }

// [chunk][row][strip][output] of a row: the sums of chunks that a warp folds.
struct RowSums {
  const float* sums;
  int CHUNK_PITCH;
  __device__ __forceinline__ const float* strip(int i) const { return sums + i * STRIP_ROWS; }
};

// `span` columns of the rows of a band, and the sums of chunks of one item. Rows lie so far apart that the loads and the
// stores of a warp meet in no bank.
struct FewStage {
  static constexpr int CODES_PAD = 16, TERMS_PAD = 4, SUMS_PAD = 4;  // bytes, floats, floats
  unsigned char* codes;
  float *scales, *sums, *partial;
  int codes_pitch, terms_pitch, sums_pitch, rows;  // bytes, floats, floats; rows: of this band

  // most: rows of the largest band.
  __device__ __forceinline__ FewStage(unsigned char* shared, int span, int most, int strips, bool with_sums)
      : codes(shared),
        scales(reinterpret_cast<float*>(shared + most * (span + CODES_PAD))),
        sums(scales + most * (span / BLOCK + TERMS_PAD)),
        partial(sums + (with_sums ? most * (span / BLOCK + TERMS_PAD) : 0)),
        codes_pitch(span + CODES_PAD),
        terms_pitch(span / BLOCK + TERMS_PAD),
        sums_pitch(strips * STRIP_ROWS + SUMS_PAD),
        rows(most) {}

  // `count` blocks of 32 of the band's rows, from block `first` of row `row` on, by all threads.
  template <bool SUMS> __device__ __forceinline__ void fill(const Activations& x, int row, int first, int count) const {
    const int blocks = x.cols / BLOCK;
    const long long at = (long long)row * blocks + first;
    for (int r = 0; r < rows; r += TOGETHER) {
      fill_rows(codes + r * codes_pitch, codes_pitch, reinterpret_cast<const uint4*>(x.codes) + 2 * (at + r * blocks),
                2 * blocks, rows - r, 2 * count);
      fill_rows(scales + r * terms_pitch, terms_pitch, x.scales + at + r * blocks, blocks, rows - r, count);
      if (SUMS) fill_rows(sums + r * terms_pitch, terms_pitch, x.sums + at + r * blocks, blocks, rows - r, count);
    }
  }
  // The first `rows` of TOGETHER rows, `count` items of each; to_pitch: of the type that `to` points to.
  static constexpr int TOGETHER = 2;  // on their way; more of them would leave too few registers
  template <class To, class T>
  static __device__ __forceinline__ void fill_rows(To* to, int to_pitch, const T* from, int pitch, int rows, int count) {
    for (int i = threadIdx.x; i < count; i += MATVEC_THREADS) {
      T item[TOGETHER];
#pragma unroll
      for (int r = 0; r < TOGETHER; r++)
        if (r < rows) item[r] = from[r * pitch + i];
#pragma unroll
      for (int r = 0; r < TOGETHER; r++)
        if (r < rows) reinterpret_cast<T*>(to + r * to_pitch)[i] = item[r];
    }
  }
  // Of a row that the band lacks those of its last row: its products are left out.
  __device__ __forceinline__ const unsigned* chunk_codes(int row, int chunk) const {
    return reinterpret_cast<const unsigned*>(codes + min(row, rows - 1) * codes_pitch + chunk * CHUNK);
  }
  __device__ __forceinline__ float4 chunk_terms(const float* terms, int row, int chunk) const {
    return reinterpret_cast<const float4*>(terms + min(row, rows - 1) * terms_pitch)[chunk];
  }
  __device__ __forceinline__ float* chunk_sums(int chunk, int row) const {
    return partial + (chunk * rows + row) * sums_pitch;
  }
};

// Words of the codes of one row of a strip, in one chunk of a tile. As weights.cuh has it, but t is this lane's.
template <class Op> struct StripWords {
  const unsigned char* tile;
  int chunk, row, t;
  __device__ __forceinline__ unsigned operator()(int i, int) const {
    return reinterpret_cast<const unsigned*>(tile + (Op::piece(chunk, i) * STRIP_ROWS + row) * PIECE_BYTES)[t];
  }
};

// Chunk PART of a step in its slot: the tile, and which chunk of the tile.
template <class Op> __device__ __forceinline__ const unsigned char* tile_of(const unsigned char* slot, int part) {
  return Op::CHUNKS == 1 ? slot + part * Step<Op>::TILE_UNITS * PIECE_BYTES : slot;
}
template <class Op> __device__ __forceinline__ int place_of(int part) { return Op::CHUNKS == 1 ? 0 : part; }

// Scales of outputs g and g + 8 in a chunk of a step, and what goes with them of two rows of the stage.
template <class Op> struct FewTerms {
  typename Op::Header header[2];
  float x_scales[2][CHUNK_BLOCKS], x_sums[2][CHUNK_BLOCKS];
  int place;

  __device__ __forceinline__ FewTerms(const unsigned char* slot, int part, const FewStage& stage, int row, int chunk)
      : x_sums{}, place(place_of<Op>(part)) {
    const int g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      header[i] = Op::header(TileRow<Op, STRIP_ROWS>{tile_of<Op>(slot, part), g + 8 * i});
      spread(x_scales[i], stage.chunk_terms(stage.scales, row + i, chunk));
      if (Op::MINIMA) spread(x_sums[i], stage.chunk_terms(stage.sums, row + i, chunk));
    }
  }
  // Elements 0 and 1 belong to output g, 2 and 3 to g + 8; even ones to the first of the rows.
  __device__ __forceinline__ void step(float (&a)[4], int b, const int (&low)[4], const int (&high)[4]) const {
    const typename Op::Scale scale[2] = {Op::scale(header[0], place * CHUNK_BLOCKS + b),
                                         Op::scale(header[1], place * CHUNK_BLOCKS + b)};
#pragma unroll
    for (int i = 0; i < 4; i++)
      a[i] = Op::step(a[i], scale[i / 2], Op::dot(scale[i / 2], low[i], high[i]), x_scales[i % 2][b], x_sums[i % 2][b]);
  }
};

template <class Op>
__device__ __forceinline__ void strip_codes(unsigned (&to)[4], const unsigned char* slot, int part, int b) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  Op::codes(to[0], to[2], StripWords<Op>{tile_of<Op>(slot, part), place_of<Op>(part), g, t}, b, t);
  Op::codes(to[1], to[3], StripWords<Op>{tile_of<Op>(slot, part), place_of<Op>(part), g + 8, t}, b, t);
}

__device__ __forceinline__ void put_sums(const FewStage& stage, int strip, int chunk, int row, const float (&a)[4]) {
  const int output = strip * STRIP_ROWS + threadIdx.x % 32 / 4;
#pragma unroll
  for (int i = 0; i < 4; i++)
    if (row + i % 2 < stage.rows) stage.chunk_sums(chunk, row + i % 2)[output + i / 2 * 8] = a[i];
}

// A_c of chunk PART of a step, for up to eight rows.
template <class Op, int PART>
__device__ __forceinline__ void put_chunk(const unsigned char* slot, const FewStage& stage, int strip, int chunk) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const unsigned* x = stage.chunk_codes(g, chunk);
  const FewTerms<Op> terms(slot, PART, stage, 2 * t, chunk);
  float a[4] = {};
#pragma unroll
  for (int b = 0; b < CHUNK_BLOCKS; b++) {
    const unsigned codes[2] = {x[8 * b + t], x[8 * b + 4 + t]};
    unsigned weights[4];
    int low[4] = {Op::START, Op::START, Op::START, Op::START}, high[4] = {};
    strip_codes<Op>(weights, slot, PART, b);
    add_products<Op>(low, high, weights, codes);
    terms.step(a, b, low, high);
  }
  put_sums(stage, strip, chunk, 2 * t, a);
}

// A_c of both chunks of a step, or of the first of them, for up to four rows: columns 0 .. 3 of the products are the rows
// in the first chunk, 4 .. 7 the rows in the second. So a lane folds the blocks of one chunk only.
template <class Op>
__device__ __forceinline__ void put_both(const unsigned char* slot, const FewStage& stage, int strip, int chunk, int parts) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const unsigned* x = stage.chunk_codes(g % NARROW_ROWS, chunk + min(g / NARROW_ROWS, parts - 1));
  int low[CHUNK_BLOCKS][4], high[CHUNK_BLOCKS][4] = {};
#pragma unroll
  for (int i = 0; i < CHUNK_BLOCKS * 4; i++) low[i / 4][i % 4] = Op::START;
#pragma unroll
  for (int part = 0; part < STEP_CHUNKS; part++) {
    if (part == parts) break;
    const bool mine = g / NARROW_ROWS == part;
#pragma unroll
    for (int b = 0; b < CHUNK_BLOCKS; b++) {
      const unsigned codes[2] = {mine ? x[8 * b + t] : 0, mine ? x[8 * b + 4 + t] : 0};
      unsigned weights[4];
      strip_codes<Op>(weights, slot, part, b);
      add_products<Op>(low[b], high[b], weights, codes);
    }
  }
  const int part = t / 2, row = 2 * (t % 2), there = min(part, parts - 1);
  const FewTerms<Op> terms(slot, there, stage, row, chunk + there);
  float a[4] = {};
#pragma unroll
  for (int b = 0; b < CHUNK_BLOCKS; b++) terms.step(a, b, low[b], high[b]);
  if (part < parts) put_sums(stage, strip, chunk + part, row, a);
}

// The two chunks of a step, or the one of them that there is; `ends`: chunks of the span.
template <class Op>
__device__ __forceinline__ void put_step(const unsigned char* slot, const FewStage& stage, int strip, int step, int ends) {
  const int chunk = STEP_CHUNKS * step;
  if (stage.rows <= NARROW_ROWS) {
    put_both<Op>(slot, stage, strip, chunk, min(STEP_CHUNKS, ends - chunk));
    return;
  }
  put_chunk<Op, 0>(slot, stage, strip, chunk);
  if (chunk + 1 < ends) put_chunk<Op, 1>(slot, stage, strip, chunk + 1);
}

// Every item of `work`: its strips (1, 2 or 4) for its band of rows. All threads take part and execute pdl_wait.
// shared: the rings, then a FewStage of `span` columns, a multiple of MATVEC_WARPS / strips steps or all columns.
template <class Work>
__device__ __forceinline__ void few(unsigned char* shared, const Work& work, const Activations& x, int span) {
  using R = Ring<Work, FEW_DEPTH>;
  const int warp = threadIdx.x / 32, strip = warp % work.strips;
  const int chunks = x.cols / CHUNK, steps = (chunks + STEP_CHUNKS - 1) / STEP_CHUNKS, span_steps = span / STEP_COLS;
  FewStage stage(shared + MATVEC_WARPS * R::DEPTH * R::BYTES, span, min(FEW_ROWS, x.rows), work.strips, Work::First::MINIMA);
  R ring;
  ring.slots = shared + warp * R::DEPTH * R::BYTES;
  ring.enter(work, blockIdx.x, x.cols);
  for (int i = 0; i < R::DEPTH; i++) ring.ask(work, i, steps, x.cols);
  pdl_wait();
  pdl_launch_dependents();
  int slot = 0, staged_band = -1, staged_first = 0;
  for (int item = blockIdx.x; item < work.items; item += gridDim.x) {
    const int band = work.band(item), row = band * FEW_ROWS;
    stage.rows = min(FEW_ROWS, x.rows - row);
    typename Work::Total total = {};
    if (warp < stage.rows) work.begin(item, row + warp, total);
    for (int first = 0; first < steps; first += span_steps) {
      const int length = min(span_steps, steps - first);
      const int ends = min(STEP_CHUNKS * length, chunks - STEP_CHUNKS * first);
      if (band != staged_band || first != staged_first) {
        stage.fill<Work::First::MINIMA>(x, row, STEP_CHUNKS * first * CHUNK_BLOCKS, ends * CHUNK_BLOCKS);
        staged_band = band;
        staged_first = first;
      }
      __syncthreads();  // the activations are there, and the sums of the span before used up
      for (int step = warp / work.strips; step < length; step += MATVEC_WARPS / work.strips) {
        ring.copies.template wait_all_but<R::DEPTH - 1>();
        __syncwarp();
        if (work.is_last(item)) put_step<typename Work::Last>(ring.slot(slot), stage, strip, step, ends);
        else put_step<typename Work::First>(ring.slot(slot), stage, strip, step, ends);
        __syncwarp();  // all lanes are through with this slot
        ring.ask(work, slot, steps, x.cols);
        slot = slot + 1 == R::DEPTH ? 0 : slot + 1;
      }
      __syncthreads();
      if (warp < stage.rows) work.fold(total, RowSums{stage.chunk_sums(0, warp), stage.rows * stage.sums_pitch}, ends);
    }
    if (warp < stage.rows) work.finish(item, row + warp, total);
  }
}
