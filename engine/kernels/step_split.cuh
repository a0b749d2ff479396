// One split of the attention of one row, for the queries of an item at a time.
#pragma once
#include "step_scores.cuh"
#include "step_values.cuh"

// What one split gives: in a thread its o of the queries of its team, in lane i of the warp ADDER m and l of query i.
template <int M> struct Attended {
  float o[Share<M>::QUERIES][Share<M>::VALUES], top, l;
};

// The team of this thread when values are folded, and the first of its values.
template <int WIDEST, int M> struct Folder {
  static const int TEAM = WIDEST / Share<M>::VALUES;  // threads
  static_assert(Share<M>::TEAMS * TEAM <= STEP_THREADS, "a thread for all values");
  int team = (int)threadIdx.x / TEAM, first = (int)threadIdx.x % TEAM * Share<M>::VALUES;
  __device__ __forceinline__ bool has(int head_dim) const { return team < Share<M>::TEAMS && first < head_dim; }
};

// The keys and values of an item on their way, as far as there is room behind `shared`; those of the items `stride` keys
// later follow in a ring.
template <class Cell, int WIDEST, int STAGES>
__device__ __forceinline__ Chunks<Cell, WIDEST, STAGES> ask_first(StepShared& shared, const Cell* keys,
                                                                  const Cell* values, const StepSizes& n,
                                                                  const StepItem& item, int stride, int position) {
  const int start = item.kv_head * n.context;
  Chunks<Cell, WIDEST, STAGES> chunks(reinterpret_cast<uint4*>(&shared + 1), reinterpret_cast<const uint4*>(keys),
                                      reinterpret_cast<const uint4*>(values), n.head_dim / Packed<Cell>::PER_PIECE,
                                      start + item.first, STAGES == WHOLE ? 0 : stride, start + position);
  chunks.ask_first();
  return chunks;
}

// One item, whose heads bring_heads has left in shared memory.
template <class Cell, int WIDEST, int M, int STAGES>
__device__ __forceinline__ Attended<M> attend_split(StepShared& shared, Chunks<Cell, WIDEST, STAGES>& chunks,
                                                    const StepSizes& n, const StepItem& item, float scale) {
  const int t = (int)threadIdx.x, lane = t & 31, cells = KEY_PIECES * Packed<Cell>::PER_PIECE;
  const int key_chunks = n.head_dim / cells, ROWS = Chunks<Cell, WIDEST, STAGES>::VALUE_ROWS;
  const int KEYS = Share<M>::KEYS, D = Share<M>::VALUES, QUERIES = Share<M>::QUERIES, scorer = t / Share<M>::SCORERS;
  const Folder<WIDEST, M> folder;
  const bool scores = scorer < Share<M>::TEAMS && first_key<KEYS>() < item.seen(), folds = folder.has(n.head_dim);
  const bool adds = t >> 5 == ADDER && lane < M;
  const float4* q = of_team<M>(shared.q, scorer);
  float s[KEYS][QUERIES] = {};
#pragma unroll 1
  for (int c = 0; c < key_chunks; c++) {
    const uint4* stage = chunks.take_keys(c);
    if (scores) score<Cell, QUERIES, KEYS>(s, q + c * cells * QUERIES / 4, KeyPlaces<KEYS>(shared, stage, item, c));
  }
  exponentiate<M>(shared, s, item.seen(), scale);
  Attended<M> out = {};
  if (adds) out.top = top_of<M>(shared, lane / QUERIES, lane % QUERIES);
  const float4* folded = of_team<M>(shared.p, folder.team);
  const float* added = of_team<M>(reinterpret_cast<const float*>(shared.p), lane / QUERIES) + lane % QUERIES;
  int base = 0;
  do {  // once without a row, too: there is a barrier in it
    const Cell* cells_of = reinterpret_cast<const Cell*>(chunks.take_values()) + folder.first;
    const int count = min(ROWS, item.cached - base);
    if (folds) fold<Cell, WIDEST, QUERIES, D>(out.o, folded + base * QUERIES / 4, cells_of, count);
    if (adds) out.l = add_up<QUERIES>(out.l, added + base * QUERIES, count);
    base += ROWS;
  } while (base < item.cached);
  if (item.fresh) {
    const float* p = reinterpret_cast<const float*>(folded) + item.cached * QUERIES;
    if (folds) fold_one<Cell, QUERIES, D>(out.o, p, reinterpret_cast<const Cell*>(shared.value) + folder.first);
    if (adds) out.l = __fadd_rn(out.l, added[item.cached * QUERIES]);
  }
  return out;
}
