// The splits of some queries combined in ascending order by the block that arrives last, and their 8-bit form.
#pragma once
#include "step_parts.cuh"
#include "step_split.cuh"

static const int FACTORS = 32;  // splits whose factors are found together, one by each lane

// o: (heads, splits, head_dim), m, l: (heads, splits); arrivals: (heads,), zero between launches.
struct StepScratch {
  float *o, *m, *l;
  unsigned* arrivals;
};

// out: (heads * head_dim,), or null; codes: (padded,), scales, sums: (padded / 32,), or null.
struct StepOutputs {
  float* out;
  signed char* codes;
  float *scales, *sums;
  int padded;
};

// What `count` splits, among them the first one or not, need to be combined, for a query by a warp whose lanes hold m and
// l of a split each: a, b of NUMERICS 10 and l. `carried` is the maximum of the splits before. What changes nothing, not
// even a zero's sign: 1, -0 and 0 past `count`. The first split, to which -0 is added, has 1 and 1.
__device__ __forceinline__ void find_factors(float4* factors, float& carried, float m, float l, int count,
                                             bool with_first) {
  const int lane = (int)threadIdx.x & 31;
  const float own = lane < count ? m : __uint_as_float(0xff800000u);
  float top = own;  // of the splits up to this one
  for (int step = 1; step < FACTORS; step *= 2) {
    const float other = __shfl_up_sync(WHOLE_WARP, top, step);
    if (lane >= step) top = nan_max(other, top);
  }
  top = nan_max(carried, top);
  const float above = __shfl_up_sync(WHOLE_WARP, top, 1), highest = lane ? above : carried;
  const bool is_first = with_first && lane == 0;
  const float before = exp32(__fsub_rn(highest, top)), after = exp32(__fsub_rn(own, top));
  factors[lane] = lane >= count ? make_float4(1.0f, -0.0f, 0.0f, 0.0f)
                                : make_float4(is_first ? 1.0f : before, is_first ? 1.0f : after, l, 0.0f);
  carried = __shfl_sync(WHOLE_WARP, top, count - 1);
}

// O of the item's queries into shared.heads, [queries][head_dim], and L into shared.sums.
template <int WIDEST, int M>
__device__ __forceinline__ void combine_splits(StepShared& shared, const StepScratch& from, const StepSizes& n,
                                               const StepItem& item, int visited) {
  static_assert(2 * M * FACTORS <= SPLIT * MOST_QUERIES / 4, "factors in use, and the next ones, where the p_j lay");
  const int t = (int)threadIdx.x, warp = t >> 5, lane = t & 31, splits = (n.context + SPLIT - 1) / SPLIT;
  const int SHARE = STEP_THREADS / M, VALUES = WIDEST > SHARE ? WIDEST / SHARE : 1;  // threads of a query; values of each
  const int query = t / SHARE, first = t % SHARE;
  const bool finds = warp < item.queries, folds = query < item.queries && first < WIDEST;
  const long long row = (long long)item.head * splits, scalars = row + (long long)warp * splits;
  Parts<WIDEST, M> parts(reinterpret_cast<uint4*>(&shared + 1), from.o + row * n.head_dim, n.head_dim, item.queries, splits,
                         visited);
  float m = finds && lane < visited ? from.m[scalars + lane] : 0.0f;
  float l = finds && lane < visited ? from.l[scalars + lane] : 0.0f;
  float carried = __uint_as_float(0xff800000u), sum = -0.0f, value[VALUES];
#pragma unroll
  for (int j = 0; j < VALUES; j++) value[j] = -0.0f;
#pragma unroll 1
  for (int base = 0; base < visited; base += FACTORS) {
    float4* factors = shared.p + (base & FACTORS) * M;  // [M][FACTORS], one after the other in two places
    if (finds) {
      find_factors(factors + warp * FACTORS, carried, m, l, min(FACTORS, visited - base), base == 0);
      const int next = base + FACTORS + lane;
      if (next < visited) m = from.m[scalars + next], l = from.l[scalars + next];
    }
#pragma unroll 1
    for (int b = 0; b < min(FACTORS, visited - base); b += BATCH) {
      const float* part = parts.take() + query * BATCH * WIDEST + first;
      if (!folds) continue;
#pragma unroll
      for (int u = 0; u < BATCH; u++) {
        const float4 f = factors[query * FACTORS + b + u];
        sum = __fmaf_rn(f.z, f.y, __fmul_rn(sum, f.x));
#pragma unroll
        for (int j = 0; j < VALUES; j++)
          value[j] = __fmaf_rn(part[u * WIDEST + j * SHARE], f.y, __fmul_rn(value[j], f.x));
      }
    }
  }
#pragma unroll
  for (int j = 0; j < VALUES; j++)
    if (folds && first + j * SHARE < n.head_dim) shared.heads[query * n.head_dim + first + j * SHARE] = value[j];
  if (folds && first == 0) shared.sums[query] = sum;
  __syncthreads();
}

// Leaves the quotients of shared.heads, [queries][head_dim], and shared.sums, a block of 32 in each warp; with those of
// the last head the pads.
template <int M>
__device__ __forceinline__ void put_results(const StepShared& shared, const StepOutputs& to, const StepSizes& n,
                                            const StepItem& item) {
  const int t = (int)threadIdx.x, total = item.queries * n.head_dim, first = item.head * n.head_dim;
#pragma unroll 1
  for (int at = t; at < total; at += STEP_THREADS) {
    const int query = M == 1 ? 0 : at / n.head_dim;
    const float x = __fdiv_rn(shared.heads[at], shared.sums[query]);
    if (to.out != nullptr) to.out[first + at] = x;
    if (to.codes == nullptr) continue;
    const QuantizedValue value = quantize_value(x);
    to.codes[first + at] = value.code;
    if ((t & 31) == 0) {
      to.scales[(first + at) >> 5] = value.scale;
      to.sums[(first + at) >> 5] = value.sum;
    }
  }
  if (to.codes == nullptr || item.head + item.queries < n.heads) return;
#pragma unroll 1
  for (int col = n.heads * n.head_dim + t; col < to.padded; col += STEP_THREADS) {
    to.codes[col] = 0;
    if ((col & 31) == 0) to.scales[col >> 5] = to.sums[col >> 5] = 0.0f;
  }
}

// What a split gave: if it is the only one to where results are made, else into the scratch.
template <int WIDEST, int M>
__device__ __forceinline__ void put_split(StepShared& shared, const Attended<M>& split, const StepScratch& scratch,
                                          const StepSizes& n, const StepItem& item, bool alone) {
  const int t = (int)threadIdx.x, lane = t & 31, splits = (n.context + SPLIT - 1) / SPLIT, QUERIES = Share<M>::QUERIES;
  const long long place = (long long)item.head * splits + item.first / SPLIT;  // of query 0
  const Folder<WIDEST, M> folder;
#pragma unroll
  for (int i = 0; i < QUERIES; i++) {
    const int query = folder.team * QUERIES + i;
    if (!folder.has(n.head_dim) || query >= item.queries) continue;
    float* o = alone ? shared.heads + query * n.head_dim : scratch.o + (place + (long long)query * splits) * n.head_dim;
#pragma unroll
    for (int d = 0; d < Share<M>::VALUES; d++) o[folder.first + d] = split.o[i][d];
  }
  if (t >> 5 != ADDER || lane >= item.queries) return;
  if (alone) shared.sums[lane] = split.l;
  else {
    scratch.m[place + (long long)lane * splits] = split.top;
    scratch.l[place + (long long)lane * splits] = split.l;
  }
}

// Results of the queries of an item, of whose `visited` splits this block has put `put` since it came here last: by the
// block that arrives last.
template <int WIDEST, int M>
__device__ __forceinline__ void finish_queries(StepShared& shared, const StepScratch& scratch, const StepOutputs& to,
                                               const StepSizes& n, const StepItem& item, int put, int visited) {
  __syncthreads();
  if (visited > 1) {
    if (threadIdx.x == 0) shared.last = last_to_arrive(scratch.arrivals + item.head, (unsigned)visited, (unsigned)put);
    __syncthreads();
    if (!shared.last) return;
    combine_splits<WIDEST, M>(shared, scratch, n, item, visited);
  }
  put_results<M>(shared, to, n, item);
}
