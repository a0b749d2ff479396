// One split of the attention of one row, for the queries of an item at a time.
#pragma once
#include "step_scores.cuh"
#include "step_values.cuh"

// What one split gives: in a thread its o of the queries, in lane i of the warp ADDER the l of query i, in all threads
// the maxima.
template <int M> struct Attended {
  float o[M][Share<M>::VALUES], top[M], l;
};

// The keys and values of an item on their way, as far as there is room behind `shared`.
template <class Cell, int WIDEST, int STAGES>
__device__ __forceinline__ Chunks<Cell, WIDEST, STAGES> ask_first(StepShared& shared, const Cell* keys,
                                                                  const Cell* values, const StepSizes& n,
                                                                  const StepItem& item) {
  const long long start = ((long long)item.kv_head * n.context + item.first) * n.head_dim;
  Chunks<Cell, WIDEST, STAGES> chunks(
      reinterpret_cast<uint4*>(&shared + 1), reinterpret_cast<const uint4*>(keys + start),
      reinterpret_cast<const uint4*>(values + start), item.cached, n.head_dim / Packed<Cell>::PER_PIECE);
  chunks.ask_first();
  return chunks;
}

// One item, whose heads bring_heads has left in shared memory.
template <class Cell, int WIDEST, int M, int STAGES>
__device__ __forceinline__ Attended<M> attend_split(StepShared& shared, Chunks<Cell, WIDEST, STAGES>& chunks,
                                                    const StepSizes& n, const StepItem& item, float scale) {
  const int t = (int)threadIdx.x, lane = t & 31, cells = KEY_PIECES * Packed<Cell>::PER_PIECE;
  const int key_chunks = n.head_dim / cells, ROWS = Chunks<Cell, WIDEST, STAGES>::VALUE_ROWS;
  const int KEYS = Share<M>::KEYS, D = Share<M>::VALUES;
  const bool scores = t < Share<M>::SCORERS && first_key<KEYS>() < item.seen(), folds = D * t < n.head_dim;
  const bool adds = t >> 5 == ADDER && lane < M;
  float s[KEYS][M] = {};
#pragma unroll 1
  for (int c = 0; c < key_chunks; c++) {
    const uint4* stage = chunks.take_keys(c);
    if (scores) score<Cell, M, KEYS>(s, shared.p + c * cells * M / 4, KeyPlaces<KEYS>(shared, stage, item, c));
  }
  Attended<M> out = {};
  exponentiate<M, KEYS>(out.top, shared, s, item.seen(), scale);
  const float* p = reinterpret_cast<const float*>(shared.p);
  int base = 0;
  do {  // once without a row, too: there is a barrier in it
    const Cell* cells_of = reinterpret_cast<const Cell*>(chunks.take_values()) + D * t;
    const int count = min(ROWS, item.cached - base);
    if (folds) fold<Cell, WIDEST, M, D>(out.o, shared.p + base * M / 4, cells_of, count);
    if (adds) out.l = add_up<M>(out.l, p + base * M + lane, count);
    base += ROWS;
  } while (base < item.cached);
  if (item.fresh) {
    if (folds) fold_one<Cell, M, D>(out.o, p + item.cached * M, reinterpret_cast<const Cell*>(shared.value) + D * t);
    if (adds) out.l = __fadd_rn(out.l, p[item.cached * M + lane]);
  }
  return out;
}
