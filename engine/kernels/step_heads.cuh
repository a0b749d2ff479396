// The heads that a step of one row brings: qk_norm and rope of queries and keys, kv_append (NUMERICS 4, 8 and 9).
#pragma once
#include "attention.cuh"
#include "turned_head.cuh"

static const int STEP_THREADS = 256;

// Sizes of a step of one row. `group`: query heads of a key head; `pairs`: of values that rope turns, in every head.
struct StepSizes {
  int heads, kv_heads, group, head_dim, context, pairs;
};

// What the products of the step left, and what turns it. q: (heads, head_dim), k, v: (kv_heads, head_dim), weights:
// (head_dim,), cos, sin: (context, pairs).
struct NewHeads {
  const float *q, *k, *v, *q_weight, *k_weight, *cos, *sin;
  float eps;
};

static const int ADDER = STEP_THREADS / 32 - 1;  // the warp that adds up the p_j
static const int MOST_QUERIES = 4;
static const int KEY_WARP = MOST_QUERIES, VALUE_WARP = KEY_WARP + 1;  // the ones before bring a query each

// What a thread takes of M queries, QUERIES of them, in a team of threads that has the same ones: the scores of KEYS keys,
// then the fold of VALUES neighbouring values. A q_d or p_j comes from shared memory once for all of these, a key or value
// once for all QUERIES. Two by two, so that four queries keep all warps busy with scores and one of every scheduler with
// values.
template <int M> struct Share {
  static const int QUERIES = M == 1 ? 1 : 2, TEAMS = M / QUERIES, KEYS = 2, SCORERS = SPLIT / KEYS, VALUES = 2;
  static_assert(TEAMS * SCORERS <= STEP_THREADS, "a thread for all scores");
};

// Where the q or the p_j of a team start: [head_dim][QUERIES] or [keys][QUERIES]; no head is longer than a split.
template <int M, class T> __device__ __forceinline__ T* of_team(T* p, int team) {
  return p + team * (SPLIT * Share<M>::QUERIES * 4 / (int)sizeof(T));
}

struct StepShared {
  float4 q[SPLIT * MOST_QUERIES / 4], p[SPLIT * MOST_QUERIES / 4];  // q and p_j, of one team after the other
  uint4 key[LARGEST_HEAD * 4 / 16], value[LARGEST_HEAD * 4 / 16];  // cells of this step
  float heads[(MOST_QUERIES + 1) * LARGEST_HEAD];             // of warps, normed; at the end O, [queries][head_dim]
  float tops[STEP_THREADS / 32 * MOST_QUERIES];               // maxima of the warps, [warps][QUERIES]
  float sums[MOST_QUERIES];                                   // L at the end
  int last;                                                   // is this block the last one to arrive?
};

// One work item: `queries` queries from head `head` on over the split that starts at key `first`. `cached` keys of it
// lie in the cache; the one after them comes with this step if it is `fresh`. Items have M queries, 1 or MOST_QUERIES,
// or fewer, with zeros in place of the others.
struct StepItem {
  int head, queries, kv_head, first, cached;
  bool fresh;
  __device__ __forceinline__ int seen() const { return cached + fresh; }
};

// What turns the heads of this warp: the queries', or the key's.
template <int WIDEST>
__device__ __forceinline__ HeadTurn<WIDEST> turn_of_warp(const NewHeads& in, int position, const StepSizes& n) {
  const long long row = (long long)position * n.pairs;
  const bool is_key = (int)threadIdx.x >> 5 == KEY_WARP;
  return HeadTurn<WIDEST>(is_key ? in.k_weight : in.q_weight, in.cos + row, in.sin + row, n.head_dim, n.pairs);
}

// The head of an item that this warp brings: a query, the key or the value; null if there is none.
__device__ __forceinline__ const float* head_of_warp(const NewHeads& in, const StepSizes& n, const StepItem& item) {
  const int warp = (int)threadIdx.x >> 5;
  if (warp < item.queries) return in.q + (item.head + warp) * n.head_dim;
  if (!item.fresh || warp < KEY_WARP || warp > VALUE_WARP) return nullptr;
  return (warp == KEY_WARP ? in.k : in.v) + item.kv_head * n.head_dim;
}

// q of the item into shared memory, and the new key and value, which the first item of a key head leaves in the cache.
template <class Cell, int WIDEST, int M>
__device__ __forceinline__ void bring_heads(StepShared& shared, const float* head, const HeadTurn<WIDEST>& turn, Cell* keys,
                                            Cell* values, int position, const StepSizes& n, const StepItem& item,
                                            float eps) {
  const int warp = (int)threadIdx.x >> 5, lane = (int)threadIdx.x & 31;
  float x[WIDEST / 32];
  load_head<WIDEST>(x, head, n.head_dim);
  if (head != nullptr && warp <= KEY_WARP)
    turn_head<WIDEST>(x, shared.heads + warp * LARGEST_HEAD, turn, n.head_dim, n.pairs, eps);
  if (warp < M) {
    const int QUERIES = Share<M>::QUERIES;
    float* q = of_team<M>(reinterpret_cast<float*>(shared.q), warp / QUERIES) + warp % QUERIES;
#pragma unroll
    for (int u = 0; u < WIDEST / 32; u++)
      if (lane + 32 * u < n.head_dim) q[(lane + 32 * u) * QUERIES] = x[u];
  } else if (head != nullptr) {
    const bool appends = item.head == item.kv_head * n.group;
    const long long cell = ((long long)item.kv_head * n.context + position) * n.head_dim;
    Cell* to = reinterpret_cast<Cell*>(warp == KEY_WARP ? shared.key : shared.value) + lane;
    Cell* cells = (warp == KEY_WARP ? keys : values) + cell + lane;
#pragma unroll
    for (int u = 0; u < WIDEST / 32; u++) {
      if (lane + 32 * u >= n.head_dim) continue;
      store(to + 32 * u, x[u]);
      if (appends) cells[32 * u] = to[32 * u];
    }
  }
}
