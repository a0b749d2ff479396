// Tiles of queries of attention_prefill: where the threads stand in a tile, what they share, how scores become p_j.
#pragma once
#include "attention.cuh"

static const int TILE = 64;  // queries of a block
static const int PREFILL_THREADS = 128, WARPS = PREFILL_THREADS / 32;
static const int QUERIES = 8, KEYS = 8;  // of a thread in the product of queries and keys
static const int HALF = SPLIT / 2;       // keys that a tile is multiplied with at a time
static const int PART = 128;             // values of every query in shared memory at a time
static const int STEP_DIMS = 8;          // values of every key in shared memory at a time
static const int SLICE_CELLS = 1024;     // cells of values in shared memory at a time

// Thread t's part of a tile whose rows are queries and whose columns are keys, or values of a head. Both come from
// shared memory in pieces of four. Lanes that differ in bit 0 alone read the same queries, lanes that differ in bit 1
// alone the same columns: so a half of a warp is served at once.
struct Place {
  int warp, lane;
  __device__ __forceinline__ int row() const { return (lane >> 1 & 7) * 4; }
  __device__ __forceinline__ int column() const { return ((lane & 1) + (lane >> 4) * 2) * 4; }
  // Number i of the thread's eight queries.
  __device__ __forceinline__ int query(int i) const { return row() + (i & 3) + (i >> 2) * 32; }
  // Number j of the thread's columns, of which a warp has `width`.
  __device__ __forceinline__ int column(int j, int width) const {
    return warp * width + column() + (j & 3) + (j >> 2) * 16;
  }
  __device__ __forceinline__ int key(int j) const { return column(j, HALF / WARPS); }
};
__device__ __forceinline__ Place place_of_thread() { return {(int)threadIdx.x >> 5, (int)threadIdx.x & 31}; }

struct __align__(16) PrefillShared {  // read in pieces of 16 bytes
  union {
    float p[SPLIT * TILE];  // by at(): the s_j, then the p_j
    struct {              // while there are scores of the first half only
      float first_half[HALF * TILE];
      float queries[PART * TILE];  // a row for each value
    };
  };
  union {  // in two buffers
    float keys[2][STEP_DIMS * HALF];  // while there are no p_j; a row for each value
    float values[2][SLICE_CELLS];     // rows of values
  };
  float tops[WARPS * TILE];
  float before[TILE], after[TILE];  // a and b of NUMERICS 10; at the end `before` is L
  int visible[TILE];                // keys of the split
  int head[TILE];                   // row * heads + head of each query, -1 past the last

  // Where p of a query lies, four queries together; keys that lanes write side by side lie in different banks.
  static __device__ __forceinline__ int at(int key, int query) { return key * TILE + (query ^ (key & 4) << 2); }
};
static_assert(sizeof(PrefillShared) == 75776, "PREFILL_SHARED in engine/ops/attention.py");

__device__ __forceinline__ void load_four(float* to, const float* from) {
  const float4 four = *reinterpret_cast<const float4*>(from);
  to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
}
// Of all queries of a thread; `row`: its first one.
__device__ __forceinline__ void load_queries(float (&to)[QUERIES], const float* row) {
  load_four(to, row);
  load_four(to + 4, row + 32);
}
__device__ __forceinline__ void store_queries(float* row, const float (&from)[QUERIES]) {
  *reinterpret_cast<float4*>(row) = make_float4(from[0], from[1], from[2], from[3]);
  *reinterpret_cast<float4*>(row + 32) = make_float4(from[4], from[5], from[6], from[7]);
}

// The larger of a maximum and a score, if neither is NaN. Else any number: the p_j of the NaN makes l and the row NaN.
__device__ __forceinline__ float raised(float top, float score) { return score <= top ? top : score; }

// Turns the scores in shared.p, each thread its own of `keys` keys, into p_j. `top`: the maxima of the thread's scores.
// Returns the maximum of query t in thread t.
__device__ __forceinline__ float exponentiate_tile(PrefillShared& shared, float (&top)[QUERIES], int keys) {
  const Place place = place_of_thread();
#pragma unroll
  for (int i = 0; i < QUERIES; i++) {
    top[i] = raised(top[i], __shfl_xor_sync(WHOLE_WARP, top[i], 1));
    top[i] = raised(top[i], __shfl_xor_sync(WHOLE_WARP, top[i], 16));
  }
  if (place.column() == 0) store_queries(shared.tops + place.warp * TILE + place.row(), top);
  __syncthreads();
#pragma unroll
  for (int w = 0; w < WARPS; w++) {
    float other[QUERIES];
    load_queries(other, shared.tops + w * TILE + place.row());
#pragma unroll
    for (int i = 0; i < QUERIES; i++) top[i] = raised(top[i], other[i]);
  }
#pragma unroll 1
  for (int k = 0; k < keys; k += 4) {  // those that a query does not see are not used
    float* row = shared.p + shared.at(place.key(k & 7) + (k >> 3) * HALF, place.row());
#pragma unroll
    for (int j = 0; j < 4; j++, row += TILE) {
      float p[QUERIES];
      load_queries(p, row);
#pragma unroll
      for (int i = 0; i < QUERIES; i++) p[i] = exp32_to_88(__fsub_rn(p[i], top[i]));
      store_queries(row, p);
    }
  }
  float highest = __uint_as_float(0xff800000u);
#pragma unroll
  for (int w = 0; w < WARPS; w++) highest = raised(highest, shared.tops[w * TILE + (int)threadIdx.x % TILE]);
  return highest;
}
