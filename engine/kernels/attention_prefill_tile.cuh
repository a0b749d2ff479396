// Tiles of queries of attention_prefill: where the threads stand in a tile, what they share, how scores become p_j.
#pragma once
#include "attention.cuh"

static const int TILE = 64;  // queries of a block
static const int PREFILL_THREADS = 128, WARPS = PREFILL_THREADS / 32;
static const int QUERIES = 8, KEYS = 16;  // of a thread in the product of queries and keys
static const int STEP_DIMS = 16;          // values of every key in shared memory at a time, at most
static const int SLICE_CELLS = 2048;      // cells of values in shared memory at a time
static const int TILE_STRIDE = TILE + 4;  // of what lies query by query: other keys, other banks

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
  __device__ __forceinline__ int key(int j) const { return column(j, SPLIT / WARPS); }
};
__device__ __forceinline__ Place place_of_thread() { return {(int)threadIdx.x >> 5, (int)threadIdx.x & 31}; }

struct __align__(16) PrefillShared {  // read in pieces of 16 bytes
  union {
    float p[SPLIT * TILE_STRIDE];  // [key][query]
    struct {                       // before there are scores, in two buffers each
      float keys[2][STEP_DIMS * SPLIT];
      float queries[2][STEP_DIMS * TILE_STRIDE];
    };
  };
  float values[2][SLICE_CELLS];  // rows of values, in two buffers
  float tops[WARPS * TILE];
  float before[TILE], after[TILE];  // a and b of NUMERICS 10; at the end `before` is L
  int visible[TILE];                // keys of the split
  int head[TILE];                   // row * heads + head of each query, -1 past the last
};
static_assert(sizeof(PrefillShared) == 88064, "PREFILL_SHARED in engine/ops/attention.py");

__device__ __forceinline__ void load_four(float* to, const float* from) {
  const float4 four = *reinterpret_cast<const float4*>(from);
  to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
}
// Of all queries of a thread, from a row of the tile.
__device__ __forceinline__ void load_queries(float (&to)[QUERIES], const float* row, const Place& place) {
  load_four(to, row + place.row());
  load_four(to + 4, row + place.row() + 32);
}

// Turns the scores of a split into p_j and leaves them in shared.p. Returns the maximum of query t in thread t.
// `all`: keys that every query sees.
__device__ __forceinline__ float exponentiate_tile(PrefillShared& shared, float (&s)[QUERIES][KEYS], int all) {
  const int t = (int)threadIdx.x;
  const Place place = place_of_thread();
  float top[QUERIES];
#pragma unroll
  for (int i = 0; i < QUERIES; i++) top[i] = __uint_as_float(0xff800000u);  // -infinity
  if (place.key(KEYS - 1) < all) {
#pragma unroll
    for (int i = 0; i < QUERIES; i++)
#pragma unroll
      for (int j = 0; j < KEYS; j++) top[i] = nan_max(top[i], s[i][j]);
  } else {
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
      const int visible = shared.visible[place.query(i)];
#pragma unroll
      for (int j = 0; j < KEYS; j++)
        if (place.key(j) < visible) top[i] = nan_max(top[i], s[i][j]);
    }
  }
#pragma unroll
  for (int i = 0; i < QUERIES; i++) {
    top[i] = nan_max(top[i], __shfl_xor_sync(WHOLE_WARP, top[i], 1));
    top[i] = nan_max(top[i], __shfl_xor_sync(WHOLE_WARP, top[i], 16));
  }
  if (place.column() == 0) {
#pragma unroll
    for (int i = 0; i < QUERIES; i++) shared.tops[place.warp * TILE + place.query(i)] = top[i];
  }
  __syncthreads();  // the tops are there, the keys are used up
#pragma unroll
  for (int w = 0; w < WARPS; w++) {
    float other[QUERIES];
    load_queries(other, shared.tops + w * TILE, place);
#pragma unroll
    for (int i = 0; i < QUERIES; i++) top[i] = nan_max(top[i], other[i]);
  }
#pragma unroll
  for (int j = 0; j < KEYS; j++) {  // those that a query does not see are not used
    float p[QUERIES];
#pragma unroll
    for (int i = 0; i < QUERIES; i++) p[i] = exp32_to_88(__fsub_rn(s[i][j], top[i]));
    float* to = shared.p + place.key(j) * TILE_STRIDE + place.row();
    *reinterpret_cast<float4*>(to) = make_float4(p[0], p[1], p[2], p[3]);
    *reinterpret_cast<float4*>(to + 32) = make_float4(p[4], p[5], p[6], p[7]);
  }
  float highest = __uint_as_float(0xff800000u);
#pragma unroll
  for (int w = 0; w < WARPS; w++) highest = nan_max(highest, shared.tops[w * TILE + t % TILE]);
  return highest;
}
