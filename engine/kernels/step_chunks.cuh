// The way of a split's keys and values into shared memory: a ring of stages that copies run ahead in, or room for all.
#pragma once
#include "step_heads.cuh"

static const int RING = 5, WHOLE = 8;                  // stages: of a ring, or of a whole split of 128 float16 a row
static const int STAGE_PIECES = 1024;                  // of 16 bytes
static const int KEY_PIECES = STAGE_PIECES / SPLIT;    // of every key in a stage
static const int AHEAD = STAGE_PIECES / STEP_THREADS;  // pieces of a stage that a thread brings

// Where piece `piece` of key `key` lies within its four in a stage: eight neighbouring keys read from different banks.
__device__ __forceinline__ int key_place(int key, int piece) { return piece ^ ((key >> 1) & (KEY_PIECES - 1)); }

// First KEY_PIECES pieces of every key at a time, until the keys are through; then ASKED_ROWS rows of values at a time,
// with room for heads of WIDEST values, at least once. They are taken like that, too, or, of a WHOLE split, the keys
// together and then the values.
template <class Cell, int WIDEST, int STAGES> struct Chunks {
  static const int ROW_PIECES = WIDEST / Packed<Cell>::PER_PIECE, ASKED_ROWS = STAGE_PIECES / ROW_PIECES;
  static const int VALUE_ROWS = STAGES == WHOLE ? SPLIT : ASKED_ROWS;  // that are taken at a time
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
      place = t, advance = ASKED_ROWS * row_pieces;
      from = values + row * row_pieces + piece;
    }
    uint4* to = stages + next * STAGE_PIECES + place;
#pragma unroll
    for (int u = 0; u < AHEAD; u++)
      if (row + u * step < end) copies.copy(to + u * STEP_THREADS, from + u * step * row_pieces);
    copies.commit();
    from += advance;
    if (keys_left < 0) end -= ASKED_ROWS;
    next = next == STAGES - 1 ? 0 : next + 1;
  }
  // All that there is room for beside what is being used.
  __device__ __forceinline__ void ask_first() {
#pragma unroll 1
    for (int i = 0; i < (STAGES == WHOLE ? STAGES : STAGES - 1); i++) ask();
  }
  // All threads call these: chunk c of the keys, then VALUE_ROWS rows of values, there for all. What was taken before
  // is used up.
  __device__ __forceinline__ const uint4* take_keys(int c) {
    if (STAGES != WHOLE) return take();
    if (c == 0) {
      copies.template wait_all_but<STAGES / 2>();  // a head of WIDEST values has as many chunks of keys as of values
      __syncthreads();
    }
    return stages + c * STAGE_PIECES;
  }
  __device__ __forceinline__ const uint4* take_values() {
    if (STAGES != WHOLE) return take();
    copies.template wait_all_but<0>();
    __syncthreads();
    return stages + row_pieces / KEY_PIECES * STAGE_PIECES;
  }
  __device__ __forceinline__ const uint4* take() {
    copies.template wait_all_but<STAGES - 2>();
    __syncthreads();
    ask();
    const uint4* chunk = stages + taken * STAGE_PIECES;
    taken = taken == STAGES - 1 ? 0 : taken + 1;
    return chunk;
  }
};
