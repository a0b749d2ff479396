// The splits of some queries combined in ascending order by the block that arrives last, and their 8-bit form.
#pragma once
#include "step_split.cuh"

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

// What `count` splits, among them the first one or not, need to be combined, for a query by a warp: a, b of NUMERICS 10
// and l of each. `carried` is the maximum of the splits before. What changes nothing, not even a zero's sign: 1, -0 and 0
// past `count`. The first split, to which -0 is added, has 1 and 1.
template <int BATCH>
__device__ __forceinline__ void find_factors(float4* factors, float& carried, const float* m, const float* l, int count,
                                             bool with_first) {
  const int lane = (int)threadIdx.x & 31;
  const float own = lane < count ? m[lane] : __uint_as_float(0xff800000u);
  const float sum = lane < count ? l[lane] : 0.0f;
  float top = own;  // of the splits up to this one
  for (int step = 1; step < BATCH; step *= 2) {
    const float other = __shfl_up_sync(WHOLE_WARP, top, step);
    if (lane >= step) top = nan_max(other, top);
  }
  top = nan_max(carried, top);
  const float above = __shfl_up_sync(WHOLE_WARP, top, 1), highest = lane ? above : carried;
  const bool is_first = with_first && lane == 0;
  const float before = exp32(__fsub_rn(highest, top)), after = exp32(__fsub_rn(own, top));
  if (lane < BATCH)
    factors[lane] = lane >= count ? make_float4(1.0f, -0.0f, 0.0f, 0.0f)
                                  : make_float4(is_first ? 1.0f : before, is_first ? 1.0f : after, sum, 0.0f);
  carried = __shfl_sync(WHOLE_WARP, top, count - 1);
}

// O of the item's queries into shared.heads, [queries][head_dim], and L into shared.sums. BATCH: splits that a thread asks
// for at once.
template <int M, int BATCH>
__device__ __forceinline__ void combine_splits(StepShared& shared, const StepScratch& from, const StepSizes& n,
                                               const StepItem& item, int visited) {
  const int t = (int)threadIdx.x, warp = t >> 5, half = n.head_dim / 2, splits = (n.context + SPLIT - 1) / SPLIT;
  float4* factors = shared.p;  // [queries][BATCH]
#pragma unroll 1
  for (int start = 0; start < item.queries * half; start += STEP_THREADS) {
    const int at = start + t, query = M == 1 ? at >= half : at / half;  // two values of a query
    const bool mine = query < item.queries;
    const float* first_split = from.o + (long long)(item.head + query) * splits * n.head_dim;
    const float2* o = reinterpret_cast<const float2*>(first_split) + (at - query * half);
    const long long scalars = (long long)(item.head + warp) * splits;  // of the query that this warp finds factors for
    float carried = __uint_as_float(0xff800000u), sum = -0.0f;
    float2 value = make_float2(-0.0f, -0.0f);
#pragma unroll 1
    for (int base = 0; base < visited; base += BATCH) {
      const int count = min(BATCH, visited - base);
      float2 part[BATCH];
#pragma unroll
      for (int u = 0; u < BATCH; u++)
        part[u] = mine && u < count ? o[(long long)(base + u) * half] : make_float2(0.0f, 0.0f);
      if (warp < item.queries)
        find_factors<BATCH>(factors + warp * BATCH, carried, from.m + scalars + base, from.l + scalars + base, count,
                            base == 0);
      __syncthreads();
      if (mine) {
#pragma unroll
        for (int u = 0; u < BATCH; u++) {
          const float4 f = factors[query * BATCH + u];
          sum = __fmaf_rn(f.z, f.y, __fmul_rn(sum, f.x));
          value.x = __fmaf_rn(part[u].x, f.y, __fmul_rn(value.x, f.x));
          value.y = __fmaf_rn(part[u].y, f.y, __fmul_rn(value.y, f.x));
        }
      }
      __syncthreads();
    }
    if (mine) {
      reinterpret_cast<float2*>(shared.heads)[at] = value;
      if (at == query * half) shared.sums[query] = sum;
    }
  }
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

// What a split gave: if it is the only one its results, else into the scratch; the block that arrives last combines.
template <int M, int BATCH>
__device__ __forceinline__ void finish_split(StepShared& shared, const Attended<M>& split, const StepScratch& scratch,
                                             const StepOutputs& to, const StepSizes& n, const StepItem& item,
                                             int visited) {
  const int t = (int)threadIdx.x, lane = t & 31, splits = (n.context + SPLIT - 1) / SPLIT, D = Share<M>::VALUES;
  const bool alone = visited == 1, adder = t >> 5 == ADDER && lane < item.queries;
  const long long place = (long long)item.head * splits + item.first / SPLIT;  // of query 0
#pragma unroll
  for (int i = 0; i < M; i++) {
    if (i >= item.queries) continue;
    float* o = alone ? shared.heads + i * n.head_dim : scratch.o + (place + (long long)i * splits) * n.head_dim;
#pragma unroll
    for (int d = 0; d < D; d++)
      if (D * t < n.head_dim) o[D * t + d] = split.o[i][d];
    if (t == 0 && !alone) scratch.m[place + (long long)i * splits] = split.top[i];
  }
  if (adder) {
    if (alone) shared.sums[lane] = split.l;
    else scratch.l[place + (long long)lane * splits] = split.l;
  }
  __syncthreads();
  if (!alone) {
    if (t == 0) shared.last = last_to_arrive(scratch.arrivals + item.head, (unsigned)visited);
    __syncthreads();
    if (!shared.last) return;
    combine_splits<M, BATCH>(shared, scratch, n, item, visited);
  }
  put_results<M>(shared, to, n, item);
}
