// The way of a few activation rows into shared memory, and the sums of chunks that a step of few.cuh makes of them.
//
// The weights of a strip are the mma's A operand and the rows its columns: lane (g, t) = (lane / 4, lane % 4) makes the sums
// of chunks of outputs g and g + 8 for rows 2t and 2t + 1.
#pragma once
#include "matvec.cuh"
#include "tile_dots.cuh"

static constexpr int FEW_ROWS = 8;  // of a band
static constexpr int NARROW_ROWS = FEW_ROWS / STEP_CHUNKS;  // of which the chunks of a step fit into the columns together

// The activations of some rounds of a band, side by side, and the sums of chunks of one round or of two. Rows lie so far
// apart that the loads and the stores of a warp meet in no bank.
struct FewStage {
  static constexpr int CODES_PAD = 16, TERMS_PAD = 4, SUMS_PAD = 4;  // bytes, floats, floats
  unsigned char* codes;
  float *scales, *sums, *partial;
  int codes_pitch, terms_pitch, sums_pitch;  // of a row: bytes, floats, floats
  int most, rows;    // of the largest band and of this one
  int chunk, place;  // where those of this round begin: its activations, its sums

  // span: columns of activations.
  __device__ __forceinline__ FewStage(unsigned char* shared, int span, int most, int strips, bool with_sums)
      : codes(shared),
        scales(reinterpret_cast<float*>(shared + most * (span + CODES_PAD))),
        sums(scales + most * (span / BLOCK + TERMS_PAD)),
        partial(sums + (with_sums ? most * (span / BLOCK + TERMS_PAD) : 0)),
        codes_pitch(span + CODES_PAD),
        terms_pitch(span / BLOCK + TERMS_PAD),
        sums_pitch(strips * STRIP_ROWS + SUMS_PAD),
        most(most),
        rows(most),
        chunk(0),
        place(0) {}

  // Asks for `count` chunks of the band that starts at row `row`, from chunk `first` on, to lie at chunk `to`.
  template <bool SUMS, class Copies>
  __device__ __forceinline__ void ask(Copies& copies, const Activations& x, int row, int first, int to, int count) const {
    const int rows = min(most, x.rows - row), warp = threadIdx.x / 32, r = warp % rows, warps = MATVEC_WARPS / rows;
    if (warp / rows == warps) return;  // so many warps bring row r
    const int piece = threadIdx.x % 32 + warp / rows * 32, step = 32 * warps;
    const long long from = (long long)(row + r) * (x.cols / CHUNK) + first;
    const int codes_count = count * CHUNK / PIECE_BYTES, term = r * terms_pitch + to * CHUNK_BLOCKS;
    copy_pieces(copies, codes + r * codes_pitch + to * CHUNK, x.codes + from * CHUNK, piece, codes_count, step);
    copy_pieces(copies, scales + term, x.scales + from * CHUNK_BLOCKS, piece, count, step);
    if (SUMS) copy_pieces(copies, sums + term, x.sums + from * CHUNK_BLOCKS, piece, count, step);
  }
  template <class Copies>
  static __device__ __forceinline__ void copy_pieces(Copies& copies, void* to, const void* from, int first, int count, int step) {
    for (int i = first; i < count; i += step)
      copies.copy(reinterpret_cast<uint4*>(to) + i, reinterpret_cast<const uint4*>(from) + i);
  }
  // To a round whose activations begin at chunk `first`; its sums go where those of the round before are not, if there are
  // two places of `length` chunks.
  __device__ __forceinline__ void turn(int first, int length, int places) {
    chunk = first;
    if (places == 2) place = length - place;
  }
  // Of a row that the band lacks those of its last row: its products are left out.
  __device__ __forceinline__ const unsigned* chunk_codes(int row, int c) const {
    return reinterpret_cast<const unsigned*>(codes + min(row, rows - 1) * codes_pitch + (chunk + c) * CHUNK);
  }
  __device__ __forceinline__ float4 chunk_terms(const float* terms, int row, int c) const {
    return reinterpret_cast<const float4*>(terms + min(row, rows - 1) * terms_pitch)[chunk + c];
  }
  __device__ __forceinline__ float* chunk_sums(int c, int row) const {
    return partial + ((place + c) * most + row) * sums_pitch;
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

  __device__ __forceinline__ FewTerms(const unsigned char* slot, int part, const FewStage& stage, int row, int chunk)
      : x_sums{} {
    const int g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      header[i] = Op::chunk(Op::header(TileRow<Op, STRIP_ROWS>{tile_of<Op>(slot, part), g + 8 * i}), place_of<Op>(part));
      spread(x_scales[i], stage.chunk_terms(stage.scales, row + i, chunk));
      if (Op::MINIMA) spread(x_sums[i], stage.chunk_terms(stage.sums, row + i, chunk));
    }
  }
  // Elements 0 and 1 belong to output g, 2 and 3 to g + 8; even ones to the first of the rows.
  __device__ __forceinline__ void step(float (&a)[4], int b, const int (&low)[4], const int (&high)[4]) const {
    const typename Op::Scale scale[2] = {Op::scale(header[0], b), Op::scale(header[1], b)};
#pragma unroll
    for (int i = 0; i < 4; i++)
      a[i] = Op::step(a[i], scale[i / 2], Op::dot(scale[i / 2], low[i], high[i]), x_scales[i % 2][b], x_sums[i % 2][b]);
  }
};

template <class Op>
__device__ __forceinline__ void strip_codes(unsigned (&to)[4], const unsigned char* slot, int part, int b) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  codes_of<Op>(to[0], to[2], StripWords<Op>{tile_of<Op>(slot, part), place_of<Op>(part), g, t}, b, t);
  codes_of<Op>(to[1], to[3], StripWords<Op>{tile_of<Op>(slot, part), place_of<Op>(part), g + 8, t}, b, t);
}

__device__ __forceinline__ void put_sums(const FewStage& stage, int strip, int chunk, int row, const float (&a)[4]) {
  float* to = stage.chunk_sums(chunk, row) + strip * STRIP_ROWS + threadIdx.x % 32 / 4;
#pragma unroll
  for (int i = 0; i < 4; i++)
    if (row + i % 2 < stage.rows) to[i % 2 * stage.sums_pitch + i / 2 * 8] = a[i];
}

// A_c of chunk PART of a step, for up to eight rows. chunk: within the round.
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
    int low[4] = {}, high[4] = {};
    strip_codes<Op>(weights, slot, PART, b);
    add_products<Op>(low, high, weights, codes);
    terms.step(a, b, low, high);
  }
  put_sums(stage, strip, chunk, 2 * t, a);
}

// A_c of both chunks of a step, or of the first of them, for up to four rows: columns 0 .. 3 of the products are the rows
// in the first chunk, 4 .. 7 the rows in the second. So a lane folds the blocks of one chunk only. Where there is no second
// chunk the first one is multiplied in its place, for nothing: a branch would keep the blocks from overlapping.
template <class Op>
__device__ __forceinline__ void put_both(const unsigned char* slot, const FewStage& stage, int strip, int chunk, int parts) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, part = t / 2, row = 2 * (t % 2);
  const int last = Op::CHUNKS == 1 ? parts - 1 : 1;  // a tile of two chunks has both
  const unsigned* x = stage.chunk_codes(g % NARROW_ROWS, chunk + min(g / NARROW_ROWS, last));
  const FewTerms<Op> terms(slot, min(part, last), stage, row, chunk + min(part, last));
  float a[4] = {};
#pragma unroll
  for (int b = 0; b < CHUNK_BLOCKS; b++) {
    const unsigned codes[2] = {x[8 * b + t], x[8 * b + 4 + t]};
    int low[4] = {}, high[4] = {};
#pragma unroll
    for (int of = 0; of < STEP_CHUNKS; of++) {
      const bool mine = g / NARROW_ROWS == of;
      const unsigned columns[2] = {mine ? codes[0] : 0, mine ? codes[1] : 0};
      unsigned weights[4];
      strip_codes<Op>(weights, slot, min(of, last), b);
      add_products<Op>(low, high, weights, columns);
    }
    terms.step(a, b, low, high);
  }
  if (part < parts) put_sums(stage, strip, chunk + part, row, a);
}

// The two chunks of a step, or the one of them that there is; `ends`: chunks of the round.
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
