// The sums of chunks that a step of few.cuh makes of a strip of weights and the activations of a stage.
#pragma once
#include "few_stage.cuh"

// Chunk PART of a step in its slot: the tile, and which chunk of the tile.
template <class Op> __device__ __forceinline__ const unsigned char* tile_of(const unsigned char* slot, int part) {
  return Op::CHUNKS == 1 ? slot + part * Step<Op>::TILE_UNITS * PIECE_BYTES : slot;
}
template <class Op> __device__ __forceinline__ int place_of(int part) { return Op::CHUNKS == 1 ? 0 : part; }

// The scales of one row of a strip in one chunk.
template <class Op> struct __align__(16) RowScales {
  typename Op::Scale of[CHUNK_BLOCKS];
};

// Takes the scales of a step apart, those of a row in one chunk by each lane: `to` is [chunk][row], of this warp. Where there
// is no second chunk the first one takes its place.
template <class Op> __device__ __forceinline__ void put_scales(RowScales<Op>* to, const unsigned char* slot, int last) {
  const int lane = threadIdx.x % 32, part = min(lane / STRIP_ROWS, last);
  const TileRow<Op, STRIP_ROWS> row{tile_of<Op>(slot, part), lane % STRIP_ROWS};
  const typename Op::Header header = Op::chunk(Op::header(row), place_of<Op>(part));
  RowScales<Op> scales;
#pragma unroll
  for (int b = 0; b < CHUNK_BLOCKS; b++) scales.of[b] = Op::scale(header, b);
  to[lane] = scales;
}

// What goes with the products of a chunk: scales of outputs g and g + 8, scales and sums of two rows of the stage.
template <class Op> struct FewTerms {
  RowScales<Op> scales[2];
  float x_scales[2][CHUNK_BLOCKS], x_sums[2][CHUNK_BLOCKS];

  __device__ __forceinline__ FewTerms(const RowScales<Op>* of_chunk, const FewStage& stage, const FewLane& lane, int chunk)
      : x_sums{} {
    const int g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      scales[i] = of_chunk[g + 8 * i];
      lane.chunk_terms(x_scales[i], stage.scales, i, chunk);
      if (Op::MINIMA) lane.chunk_terms(x_sums[i], stage.sums, i, chunk);
    }
  }
  // Elements 0 and 1 belong to output g, 2 and 3 to g + 8; even ones to the first of the rows.
  __device__ __forceinline__ void step(float (&a)[4], int b, const int (&low)[4], const int (&high)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const typename Op::Scale& scale = scales[i / 2].of[b];
      a[i] = Op::step(a[i], scale, Op::dot(scale, low[i], high[i]), x_scales[i % 2][b], x_sums[i % 2][b]);
    }
  }
};

// The codes of a strip in a chunk of a step, two words of each piece: those of outputs g and g + 8. They keep their offset.
template <class Op> struct StripCodes {
  unsigned words[(Op::PIECES + 1) / 2][4];

  __device__ __forceinline__ StripCodes(const unsigned char* slot, int part) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < Op::PIECES; i += 2) {  // a piece of 16 rows is two matrices
      const int row = i + 1 < Op::PIECES ? lane : lane % STRIP_ROWS;
      const unsigned char* piece = tile_of<Op>(slot, part) + Op::piece(place_of<Op>(part), i) * STRIP_ROWS * PIECE_BYTES;
      load_matrices(words[i / 2], piece + row * PIECE_BYTES);
    }
  }
  struct Output {
    const StripCodes& codes;
    int half;  // of the strip
    __device__ __forceinline__ unsigned operator()(int i, int) const { return codes.words[i / 2][i % 2 * 2 + half]; }
  };
  // Adds the products of block b with its columns, both words of a pair of blocks.
  __device__ __forceinline__ void multiply(int (&low)[4], int (&high)[4], int b, const unsigned (&pair)[4]) const {
    const unsigned columns[2] = {pair[b % 2 * 2], pair[b % 2 * 2 + 1]};
    unsigned weights[4];
    Op::fields(weights[0], weights[2], Output{*this, 0}, b, 0);
    Op::fields(weights[1], weights[3], Output{*this, 1}, b, 0);
    add_products<Op>(low, high, weights, columns);
  }
};

// (q - offset) x = q x - offset x, in the pipe that does not take codes apart: the second product.
template <class Op>
__device__ __forceinline__ void add_offsets(int (&low)[4], int (&high)[4], int b, const unsigned (&pair)[4]) {
  const unsigned columns[2] = {pair[b % 2 * 2], pair[b % 2 * 2 + 1]};
  constexpr unsigned MINUS = 0x01010101u * (256 - Op::OFFSET);
  const unsigned offsets[4] = {MINUS, MINUS, MINUS, MINUS};
  if (Op::OFFSET) add_products<Op>(low, high, offsets, columns);
}

// Puts the sums of a chunk of this lane's outputs, if the band has its rows.
__device__ __forceinline__ void put_sums(const FewStage& stage, const FewLane& lane, int strip, int chunk, const float (&a)[4]) {
  float* to = stage.partial + (stage.place + chunk) * stage.most * stage.sums_pitch + lane.sum + strip * STRIP_ROWS;
#pragma unroll
  for (int i = 0; i < 4; i++)
    if (lane.row + i % 2 < stage.rows) to[i % 2 * stage.sums_pitch + i / 2 * 8] = a[i];
}

// A_c of chunk PART of a step, for up to eight rows. chunk: within the round.
template <class Op, int PART>
__device__ __forceinline__ void put_chunk(const unsigned char* slot, const RowScales<Op>* scales, const FewStage& stage,
                                          const FewLane& lane, int strip, int chunk) {
  const StripCodes<Op> codes(slot, PART);
  unsigned x[CHUNK_BLOCKS / 2][4];
  lane.columns(x, stage, 0, stage.chunk + chunk);
  const FewTerms<Op> terms(scales + PART * STRIP_ROWS, stage, lane, stage.chunk + chunk);
  float a[4] = {};
#pragma unroll
  for (int b = 0; b < CHUNK_BLOCKS; b++) {
    int low[4] = {}, high[4] = {};
    add_offsets<Op>(low, high, b, x[b / 2]);
    codes.multiply(low, high, b, x[b / 2]);
    terms.step(a, b, low, high);
  }
  put_sums(stage, lane, strip, chunk, a);
}

// A_c of both chunks of a step, or of the first of them, for up to four rows. Where there is no second chunk the first one
// is multiplied in its place, for nothing: a branch would keep the blocks from overlapping.
template <class Op>
__device__ __forceinline__ void put_both(const unsigned char* slot, const RowScales<Op>* scales, const FewStage& stage,
                                         const FewLane& lane, int strip, int chunk, int last) {
  const StripCodes<Op> codes(slot, 0), codes_2(slot, last);
  unsigned x[CHUNK_BLOCKS / 2][4], x_2[CHUNK_BLOCKS / 2][4];
  lane.columns(x, stage, 0, stage.chunk + chunk);
  lane.columns(x_2, stage, 1, stage.chunk + chunk + last);
  const FewTerms<Op> terms(scales + lane.part * STRIP_ROWS, stage, lane, stage.chunk + chunk + min(lane.part, last));
  float a[4] = {};
#pragma unroll
  for (int b = 0; b < CHUNK_BLOCKS; b++) {
    int low[4] = {}, high[4] = {};
    add_offsets<Op>(low, high, b, x[b / 2]);
    add_offsets<Op>(low, high, b, x_2[b / 2]);
    codes.multiply(low, high, b, x[b / 2]);
    codes_2.multiply(low, high, b, x_2[b / 2]);
    terms.step(a, b, low, high);
  }
  if (lane.part <= last) put_sums(stage, lane, strip, chunk + lane.part, a);
}

// The two chunks of a step, or the one of them that there is; `ends`: chunks of the round. room: of this warp, for scales.
// NARROWS: whether a band can be narrow.
template <class Op, bool NARROWS>
__device__ __forceinline__ void put_step(const unsigned char* slot, unsigned char* room, const FewStage& stage,
                                         const FewLane& lane, int strip, int step, int ends) {
  const int chunk = STEP_CHUNKS * step, last = min(STEP_CHUNKS, ends - chunk) - 1;
  RowScales<Op>* scales = reinterpret_cast<RowScales<Op>*>(room);
  put_scales<Op>(scales, slot, last);
  __syncwarp();
  if (NARROWS && lane.narrow) {
    put_both<Op>(slot, scales, stage, lane, strip, chunk, last);
    return;
  }
  put_chunk<Op, 0>(slot, scales, stage, lane, strip, chunk);
  if (last) put_chunk<Op, 1>(slot, scales, stage, lane, strip, chunk + 1);
}
