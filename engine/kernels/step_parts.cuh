// The way of what splits left, their o, into shared memory, where the block that arrives last combines them.
#pragma once
#include "step_chunks.cuh"

static const int BATCH = 8;  // splits that come, and are combined, together

// A batch is [M][BATCH][WIDEST]: of each query, or of fewer than M, BATCH neighbouring splits, with zeros past the last.
// They lie where keys and values lay, as many as there is room for beside the one that is being used.
template <int WIDEST, int M> struct Parts {
  static const int ROW_PIECES = WIDEST / 4, PIECES = M * BATCH * ROW_PIECES, MINE = PIECES / STEP_THREADS;
  static const int ROOM = RING * STAGE_PIECES / PIECES, SLOTS = ROOM < RING ? ROOM : RING;
  static_assert(MINE * STEP_THREADS == PIECES && SLOTS >= 2, "every thread brings as many pieces, one batch ahead");
  uint4* slots;       // [SLOTS][PIECES]
  const float* from;  // o of the first query, (queries, splits, head_dim)
  int head_dim, queries, splits, visited;
  int asked, next;  // splits that were asked for; the slot of those that are asked for next
  AsyncCopies<SLOTS * MINE> copies;

  __device__ __forceinline__ Parts(uint4* slots, const float* from, int head_dim, int queries, int splits, int visited)
      : slots(slots), from(from), head_dim(head_dim), queries(queries), splits(splits), visited(visited), asked(0), next(0) {
#pragma unroll 1
    for (int i = 0; i < SLOTS - 1; i++) ask();
  }
  // Asks for the next batch; past the end for nothing.
  __device__ __forceinline__ void ask() {
    const int t = (int)threadIdx.x, piece = t % ROW_PIECES;
#pragma unroll
    for (int u = 0; u < MINE; u++) {
      const int row = t / ROW_PIECES + u * (STEP_THREADS / ROW_PIECES), query = row / BATCH, split = asked + row % BATCH;
      const bool present = split < visited && 4 * piece < head_dim;
      const float* part = from + (present ? ((long long)query * splits + split) * head_dim + 4 * piece : 0);
      if (asked < visited && query < queries)
        copies.copy(slots + next * PIECES + t + u * STEP_THREADS, reinterpret_cast<const uint4*>(part), present);
    }
    copies.commit();
    asked += BATCH, next = next == SLOTS - 1 ? 0 : next + 1;
  }
  // All threads call this: the next batch, there for all. The one before is used up.
  __device__ __forceinline__ const float* take() {
    copies.template wait_all_but<SLOTS - 2>();
    __syncthreads();
    ask();
    return reinterpret_cast<const float*>(slots + next * PIECES);  // round the ring, the oldest
  }
};
