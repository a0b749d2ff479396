// What the p_j of a tile of queries make of one split of values, for attention_prefill.
#pragma once
#include "attention_prefill_tile.cuh"


// Values of a split on their way to shared memory, where a row has D * 128 cells, the last ones zero. ROWS rows at a
// time: neighbouring threads bring neighbouring pieces.
template <class Cell, int D> struct StagedValues {
  static const int CELLS = Packed<Cell>::PER_PIECE, ROWS = SLICE_CELLS / (128 * D);
  static const int THREADS = 128 * D / CELLS;         // of a row
  static const int STEP = PREFILL_THREADS / THREADS;  // rows that all threads bring at once
  static const int PIECES = ROWS / STEP;
  const unsigned* from;  // this thread's place in the first row of the next slice
  int row, column;       // of this thread in a slice; the column in cells
  int left;              // rows from its first one to the end of what is visible
  uint4 piece[PIECES];

  __device__ __forceinline__ void start(const unsigned* words, int row_words, int seen) {
    row = (int)threadIdx.x / THREADS;
    column = (int)threadIdx.x % THREADS * CELLS;
    from = words + row * row_words + column / Packed<Cell>::PER_WORD;
    left = column / Packed<Cell>::PER_WORD < row_words ? seen - row : 0;
  }
  __device__ __forceinline__ void load(int row_words) {
    const int words = row_words - column / Packed<Cell>::PER_WORD;  // of the row from here
#pragma unroll
    for (int u = 0; u < PIECES; u++)
      piece[u] = load_piece(from + u * STEP * row_words, 0, u * STEP < left ? words : 0, row_words % 4 == 0);
    from += ROWS * row_words;
    left -= ROWS;
  }
  __device__ __forceinline__ void store(float* to) const {
#pragma unroll
    for (int u = 0; u < PIECES; u++) {
      float v[CELLS];
      unpack_piece<Cell>(v, piece[u]);
      float* at = to + (row + u * STEP) * 128 * D + column;
#pragma unroll
      for (int e = 0; e < CELLS; e += 4)
        *reinterpret_cast<float4*>(at + e) = make_float4(v[e], v[e + 1], v[e + 2], v[e + 3]);
    }
  }
};

// What a thread carries through the values of a split: l of query t % TILE, o of its queries and columns.
template <int D> struct Folded {
  float sum;
  float o[QUERIES][8 * D];
};

// Folds the keys `base` .. `seen` - 1, at most ROWS, whose values lie at `values`. Keys below `all` are seen by all
// queries.
template <int D, int ROWS>
__device__ __forceinline__ void fold_slice(Folded<D>& folded, const PrefillShared& shared, const float* values,
                                           int base, int all, int seen) {
  const Place place = place_of_thread();
  const int own = (int)threadIdx.x % TILE;
  const float* v_rows = values + place.column(0, 32 * D);
  float p[QUERIES], v[8 * D];
  if (base + ROWS <= all) {
#pragma unroll
    for (int j = 0; j < ROWS; j++) {
      load_queries(p, shared.p + shared.at(base + j, place.row()));
#pragma unroll
      for (int c = 0; c < 8 * D; c += 4) load_four(v + c, v_rows + j * 128 * D + c * 4);
      folded.sum = __fadd_rn(folded.sum, shared.p[shared.at(base + j, own)]);
#pragma unroll
      for (int c = 0; c < 8 * D; c++)
#pragma unroll
        for (int i = 0; i < QUERIES; i++) folded.o[i][c] = __fmaf_rn(p[i], v[c], folded.o[i][c]);
    }
    return;
  }
  for (int j = 0; j < min(ROWS, seen - base); j++) {
    load_queries(p, shared.p + shared.at(base + j, place.row()));
#pragma unroll
    for (int c = 0; c < 8 * D; c += 4) load_four(v + c, v_rows + j * 128 * D + c * 4);
    if (base + j < shared.visible[own]) folded.sum = __fadd_rn(folded.sum, shared.p[shared.at(base + j, own)]);
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
      if (base + j >= shared.visible[place.query(i)]) continue;
#pragma unroll
      for (int c = 0; c < 8 * D; c++) folded.o[i][c] = __fmaf_rn(p[i], v[c], folded.o[i][c]);
    }
  }
}
