// What the p_j of a tile of queries make of one split of values, for attention_prefill.
#pragma once
#include "attention_prefill_tile.cuh"


// Values of a split on their way to shared memory, where a row has D * 128 cells, the last ones zero. ROWS rows at a
// time: neighbouring threads bring neighbouring pieces.
template <class Cell, int D> struct StagedValues {
  static const int CELLS = Packed<Cell>::PER_PIECE, ROWS = SLICE_CELLS / (128 * D);
  static const int THREADS = 128 * D / CELLS, STEP = PREFILL_THREADS / THREADS;  // of a row; rows that all bring at once
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

// What one key adds to it.
template <int D> struct ValueStep {
  float p[QUERIES], v[8 * D], own;

  __device__ __forceinline__ void load(const float* p_row, const float* v_row, const Place& place) {
    load_queries(p, p_row, place);
#pragma unroll
    for (int c = 0; c < 8 * D; c += 4) load_four(v + c, v_row + c * 4);
    own = p_row[(int)threadIdx.x % TILE];
  }
  __device__ __forceinline__ void fold(Folded<D>& folded) const {
    folded.sum = __fadd_rn(folded.sum, own);
#pragma unroll
    for (int c = 0; c < 8 * D; c++)
#pragma unroll
      for (int i = 0; i < QUERIES; i++) folded.o[i][c] = __fmaf_rn(p[i], v[c], folded.o[i][c]);
  }
  // Only where key `j` is seen.
  __device__ __forceinline__ void fold_visible(Folded<D>& folded, const int* visible, int j, const Place& place) const {
    if (j < visible[(int)threadIdx.x % TILE]) folded.sum = __fadd_rn(folded.sum, own);
#pragma unroll
    for (int i = 0; i < QUERIES; i++) {
      if (j >= visible[place.query(i)]) continue;
#pragma unroll
      for (int c = 0; c < 8 * D; c++) folded.o[i][c] = __fmaf_rn(p[i], v[c], folded.o[i][c]);
    }
  }
};

// Folds the keys `base` .. `seen` - 1, at most ROWS, whose values lie at `values`; each is loaded while the one before is
// folded. Keys below `all` are seen by all queries.
template <int D, int ROWS>
__device__ __forceinline__ void fold_slice(Folded<D>& folded, const PrefillShared& shared, const float* values,
                                           int base, int all, int seen) {
  const Place place = place_of_thread();
  const float *p_row = shared.p + base * TILE_STRIDE, *v_row = values + place.column(0, 32 * D);
  const int row = 128 * D;
  ValueStep<D> now, next;
  if (base + ROWS <= all) {
    now.load(p_row, v_row, place);
#pragma unroll 1
    for (int j = 0; j < ROWS - 2; j += 2, p_row += 2 * TILE_STRIDE, v_row += 2 * row) {
      next.load(p_row + TILE_STRIDE, v_row + row, place);
      now.fold(folded);
      now.load(p_row + 2 * TILE_STRIDE, v_row + 2 * row, place);
      next.fold(folded);
    }
    next.load(p_row + TILE_STRIDE, v_row + row, place);
    now.fold(folded);
    next.fold(folded);
    return;
  }
  for (int j = base; j < min(base + ROWS, seen); j++, p_row += TILE_STRIDE, v_row += row) {
    now.load(p_row, v_row, place);
    now.fold_visible(folded, shared.visible, j, place);
  }
}
