// What the p_j of a tile of queries make of one split of values, for attention_prefill.
#pragma once
#include "attention_prefill_tile.cuh"


// D * 128 columns of values, the last ones zero: ROWS rows in shared memory at a time. A warp brings a row in pieces of
// 128 cells, four of them in a thread.
template <class Cell, int D> struct StagedValues {
  static const int ROWS = SLICE_CELLS / (128 * D), PIECES = SLICE_CELLS / 4 / PREFILL_THREADS;
  uint4 four[PIECES];

  // `words`: the values of the split, of which rows `base` .. below `end` are loaded.
  __device__ __forceinline__ void load(const unsigned* words, int row_words, int base, int end) {
#pragma unroll
    for (int u = 0; u < PIECES; u++) {
      const int row = base + row_of(u), at = column_of(u) / Packed<Cell>::PER_WORD;
      four[u] = load_four_cells(words + row * row_words, at, row < end ? row_words : 0);
    }
  }
  __device__ __forceinline__ void store(float* to) const {
#pragma unroll
    for (int u = 0; u < PIECES; u++) {
      float cells[Packed<Cell>::PER_PIECE];
      unpack_piece<Cell>(cells, four[u]);
      *reinterpret_cast<float4*>(to + row_of(u) * 128 * D + column_of(u)) =
          make_float4(cells[0], cells[1], cells[2], cells[3]);
    }
  }
  static __device__ __forceinline__ int row_of(int u) { return ((int)threadIdx.x >> 5) + WARPS * (u / D); }
  static __device__ __forceinline__ int column_of(int u) { return 4 * ((int)threadIdx.x & 31) + 128 * (u % D); }
  static __device__ __forceinline__ uint4 load_four_cells(const unsigned* row, int at, int row_words) {
    if (Packed<Cell>::PER_WORD == 1) return load_piece(row, at, row_words, row_words % 4 == 0);
    uint4 four = make_uint4(0u, 0u, 0u, 0u);
    if (row_words % 2 == 0) {
      if (at < row_words) {
        const uint2 two = *reinterpret_cast<const uint2*>(row + at);
        four.x = two.x, four.y = two.y;
      }
    } else {
      if (at < row_words) four.x = row[at];
      if (at + 1 < row_words) four.y = row[at + 1];
    }
    return four;
  }
};

// Folds `count` keys from `base` on, whose values lie at `values`, into o. Keys below `all` are seen by all queries.
template <int D>
__device__ __forceinline__ void fold_slice(float (&o)[QUERIES][8 * D], const PrefillShared& shared, const float* values,
                                           int base, int count, int all) {
  const Place place = place_of_thread();
  const float* p_row = shared.p + base * TILE_STRIDE;
  const float* v_row = values + place.column(0, 32 * D);
  float p[QUERIES], v[8 * D];
  if (base + count <= all) {
#pragma unroll 4
    for (int j = 0; j < count; j++) {
      load_queries(p, p_row + j * TILE_STRIDE, place);
#pragma unroll
      for (int c = 0; c < 8 * D; c += 4) load_four(v + c, v_row + j * 128 * D + c * 4);
#pragma unroll
      for (int c = 0; c < 8 * D; c++)
#pragma unroll
        for (int i = 0; i < QUERIES; i++) o[i][c] = __fmaf_rn(p[i], v[c], o[i][c]);
    }
    return;
  }
  for (int j = 0; j < count; j++) {
    load_queries(p, p_row + j * TILE_STRIDE, place);
#pragma unroll
    for (int c = 0; c < 8 * D; c += 4) load_four(v + c, v_row + j * 128 * D + c * 4);
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
      if (base + j >= shared.visible[place.query(i)]) continue;
#pragma unroll
      for (int c = 0; c < 8 * D; c++) o[i][c] = __fmaf_rn(p[i], v[c], o[i][c]);
    }
  }
}
