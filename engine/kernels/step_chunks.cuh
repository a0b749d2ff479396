// The way of a split's keys and values into shared memory: a ring of stages that copies run ahead in, or room for all.
#pragma once
#include "step_heads.cuh"

static const int RING = 5, WHOLE = 8;                  // stages: of a ring, or of a whole split of 128 float16 a row
static const int STAGE_PIECES = 1024;                  // of 16 bytes
static const int KEY_PIECES = STAGE_PIECES / SPLIT;    // of every key in a stage
static const int AHEAD = STAGE_PIECES / STEP_THREADS;  // pieces of a stage that a thread brings

// Where piece `piece` of key `key` lies within its four in a stage: eight neighbouring keys read from different banks.
__device__ __forceinline__ int key_place(int key, int piece) { return piece ^ ((key >> 1) & (KEY_PIECES - 1)); }

// Of a split first KEY_PIECES pieces of every key at a time, until the keys are through; then ASKED_ROWS rows of values at a
// time, with room for heads of WIDEST values, at least once. They are taken like that, too, or, of a WHOLE split, the keys
// together and then the values. A ring goes on with the next split without a pause.
template <class Cell, int WIDEST, int STAGES> struct Chunks {
  static const int ROW_PIECES = WIDEST / Packed<Cell>::PER_PIECE, ASKED_ROWS = STAGE_PIECES / ROW_PIECES;
  static const int VALUE_ROWS = STAGES == WHOLE ? SPLIT : ASKED_ROWS;  // that are taken at a time
  uint4* stages;                 // [STAGES][STAGE_PIECES]
  const uint4 *keys, *values;    // the caches
  const uint4* from;             // this thread's first piece of the chunk that is asked for next
  int row_pieces;                // of the caches, a multiple of KEY_PIECES
  int first, stride, new_row;    // rows: a split starts at `first`, the next one `stride` later, before that of this step
  bool of_keys;
  int end, left, next;  // rows of this thread's to come; chunks until the values, or the next split; the next one's stage
  AsyncCopies<STAGES * AHEAD> copies;

  __device__ __forceinline__ Chunks(uint4* stages, const uint4* keys, const uint4* values, int row_pieces, int first,
                                    int stride, int new_row)
      : stages(stages), keys(keys), values(values), row_pieces(row_pieces), first(first), stride(stride), new_row(new_row),
        next(0) {
    begin_keys();
  }
  __device__ __forceinline__ void begin_keys() {
    const int row = (int)threadIdx.x / KEY_PIECES, piece = (int)threadIdx.x % KEY_PIECES;
    end = min(new_row - first, SPLIT) - row, left = row_pieces / KEY_PIECES, of_keys = true;
    from = keys + (long long)(first + row) * row_pieces + piece;
  }
  __device__ __forceinline__ void begin_values() {
    const int row = (int)threadIdx.x / ROW_PIECES, piece = (int)threadIdx.x % ROW_PIECES, rows = min(new_row - first, SPLIT);
    end = piece < row_pieces ? rows - row : 0, left = max((rows + ASKED_ROWS - 1) / ASKED_ROWS, 1), of_keys = false;
    from = values + (long long)(first + row) * row_pieces + piece;
  }
  // Asks for the next chunk; past the end for nothing.
  __device__ __forceinline__ void ask() {
    if (left == 0) {
      if (of_keys) begin_values();
      else {
        first = stride != 0 && first + stride <= new_row ? first + stride : new_row;
        begin_keys();
      }
    }
    const int t = (int)threadIdx.x, piece = t % KEY_PIECES, step = STEP_THREADS / (of_keys ? KEY_PIECES : ROW_PIECES);
    uint4* to = stages + next * STAGE_PIECES + (of_keys ? t - piece + key_place(t / KEY_PIECES, piece) : t);
#pragma unroll
    for (int u = 0; u < AHEAD; u++)
      if (u * step < end) copies.copy(to + u * STEP_THREADS, from + u * step * row_pieces);
    copies.commit();
    from += of_keys ? KEY_PIECES : ASKED_ROWS * row_pieces, left--;
    if (!of_keys) end -= ASKED_ROWS;
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
    return stages + next * STAGE_PIECES;  // round the ring, the oldest
  }
};
