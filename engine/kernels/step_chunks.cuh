// The way of a split's keys and values into shared memory: a ring of stages that copies run ahead in.
#pragma once
#include "step_heads.cuh"

static const int STAGES = 3, STAGE_PIECES = 1024;      // of 16 bytes
static const int KEY_PIECES = STAGE_PIECES / SPLIT;    // of every key in a stage
static const int AHEAD = STAGE_PIECES / STEP_THREADS;  // pieces of a stage that a thread brings

// Where piece `piece` of key `key` lies within its four in a stage: eight neighbouring keys read from different banks.
__device__ __forceinline__ int key_place(int key, int piece) { return piece ^ ((key >> 1) & (KEY_PIECES - 1)); }

// First KEY_PIECES pieces of every key at a time, until the keys are through; then some rows of values at a time, as
// they lie in the cache, at least once.
struct Chunks {
  uint4* stages;             // [STAGES][STAGE_PIECES]
  const uint4 *keys, *values;  // of the first row of the split
  int rows, row_pieces;      // of the split that lie in the cache; pieces of a row, a multiple of KEY_PIECES
  AsyncCopies<STAGES * AHEAD> copies;
  int asked, taken;

  __device__ __forceinline__ int key_chunks() const { return row_pieces / KEY_PIECES; }
  __device__ __forceinline__ int value_rows() const { return STAGE_PIECES / row_pieces & ~7; }

  // Asks for the next chunk; past the end for nothing.
  __device__ __forceinline__ void ask() {
    const int t = (int)threadIdx.x, first = (asked - key_chunks()) * value_rows();
    uint4* to = stages + asked % STAGES * STAGE_PIECES;
    if (first < 0) {
#pragma unroll
      for (int u = 0; u < AHEAD; u++) {
        const int key = (t + u * STEP_THREADS) / KEY_PIECES, piece = t % KEY_PIECES;
        const uint4* from = keys + key * row_pieces + asked * KEY_PIECES + piece;
        if (key < rows) copies.copy(to + key * KEY_PIECES + key_place(key, piece), from);
      }
    } else {
      const int count = min(value_rows(), rows - first) * row_pieces;
#pragma unroll
      for (int u = 0; u < AHEAD; u++) {
        const int piece = t + u * STEP_THREADS;
        if (piece < count) copies.copy(to + piece, values + first * row_pieces + piece);
      }
    }
    copies.commit();
    asked++;
  }
  // All threads call it: the next chunk, there for all. The one before is used up.
  __device__ __forceinline__ const uint4* take() {
    copies.wait_all_but<STAGES - 2>();
    __syncthreads();
    ask();
    return stages + taken++ % STAGES * STAGE_PIECES;
  }
};
