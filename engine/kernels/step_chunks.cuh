// The way of a split's keys and values into shared memory: a ring of stages that copies run ahead in.
#pragma once
#include "step_heads.cuh"

static const int STAGES = 5, STAGE_PIECES = 1024;      // of 16 bytes
static const int KEY_PIECES = STAGE_PIECES / SPLIT;    // of every key in a stage
static const int AHEAD = STAGE_PIECES / STEP_THREADS;  // pieces of a stage that a thread brings

// Where piece `piece` of key `key` lies within its four in a stage: eight neighbouring keys read from different banks.
__device__ __forceinline__ int key_place(int key, int piece) { return piece ^ ((key >> 1) & (KEY_PIECES - 1)); }

// First KEY_PIECES pieces of every key at a time, until the keys are through; then VALUE_ROWS rows of values at a time,
// with room for heads of WIDEST values, at least once.
template <class Cell, int WIDEST> struct Chunks {
  static const int ROW_PIECES = WIDEST / Packed<Cell>::PER_PIECE, VALUE_ROWS = STAGE_PIECES / ROW_PIECES;
  uint4* stages;       // [STAGES][STAGE_PIECES]
  const uint4* from;   // this thread's first piece of the chunk that is asked for next
  const uint4* values;
  int row_pieces;      // of the cache, a multiple of KEY_PIECES
  int row, step, end;  // this thread brings the pieces of rows row, row + step, ... < end
  int place, advance;  // of its first piece in a stage; pieces from one chunk to the next
  int keys_left, rows, next, taken;
  AsyncCopies<STAGES * AHEAD> copies;

  // `keys`, `values`: the first row of a split, of which `count` rows lie in the cache.
  __device__ __forceinline__ Chunks(uint4* stages, const uint4* keys, const uint4* values, int count, int row_pieces)
      : stages(stages), values(values), row_pieces(row_pieces), rows(count), next(0), taken(0) {
    const int t = (int)threadIdx.x, piece = t % KEY_PIECES;
    row = t / KEY_PIECES, step = STEP_THREADS / KEY_PIECES, end = count;
    place = t - piece + key_place(row, piece), advance = KEY_PIECES, keys_left = row_pieces / KEY_PIECES;
    from = keys + row * row_pieces + piece;
  }
  // Asks for the next chunk; past the end for nothing.
  __device__ __forceinline__ void ask() {
    if (keys_left-- == 0) {
      const int t = (int)threadIdx.x, piece = t % ROW_PIECES;
      row = t / ROW_PIECES, step = STEP_THREADS / ROW_PIECES, end = piece < row_pieces ? rows : 0;
      place = t, advance = VALUE_ROWS * row_pieces;
      from = values + row * row_pieces + piece;
    }
    uint4* to = stages + next * STAGE_PIECES + place;
#pragma unroll
    for (int u = 0; u < AHEAD; u++)
      if (row + u * step < end) copies.copy(to + u * STEP_THREADS, from + u * step * row_pieces);
    copies.commit();
    from += advance;
    if (keys_left < 0) end -= VALUE_ROWS;
    next = next == STAGES - 1 ? 0 : next + 1;
  }
  // All threads call it: the next chunk, there for all. The one before is used up.
  __device__ __forceinline__ const uint4* take() {
    copies.template wait_all_but<STAGES - 2>();
    __syncthreads();
    ask();
    const uint4* chunk = stages + taken * STAGE_PIECES;
    taken = taken == STAGES - 1 ? 0 : taken + 1;
    return chunk;
  }
};
