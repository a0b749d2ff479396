// What the splits of one query left, combined in ascending order.
#pragma once
#include "attention.cuh"

struct CombineShared {
  float tops[SPLIT], sums[SPLIT], before[SPLIT], after[SPLIT];
};

// put(item, value) for each of `items` heads of a row, in every thread: its value of the head, zero past the head.
template <class Put>
__device__ __forceinline__ void combine(CombineShared& shared, const float* o, const float* m, const float* l,
                                        const int* position, int items, int heads, int head_dim, int context,
                                        const Put& put) {
  float *tops = shared.tops, *sums = shared.sums, *before = shared.before, *after = shared.after;
  const int t = (int)threadIdx.x, threads = (int)blockDim.x, splits = (context + SPLIT - 1) / SPLIT;
  pdl_launch_dependents();
  pdl_wait();
  const int start = position[0];
  for (int item = (int)blockIdx.x; item < items; item += (int)gridDim.x) {
    const int visited = min((start + item / heads) / SPLIT + 1, splits);
    const long long first = (long long)item * splits;
    float carried = __uint_as_float(0xff800000u), sum = 0.0f, value = 0.0f;  // maximum of the splits before; L; O_d
    for (int base = 0; base < visited; base += threads) {  // a thread per split, then a thread per value
      const int count = min(threads, visited - base);
      if (t < count) {
        tops[t] = m[first + base + t];
        sums[t] = l[first + base + t];
      }
      __syncthreads();
      if (t < count) {
        float top = carried;
        for (int s = 0; s < t; s++) top = nan_max(top, tops[s]);
        const float highest = nan_max(top, tops[t]);
        before[t] = exp32(__fsub_rn(top, highest));
        after[t] = exp32(__fsub_rn(tops[t], highest));
      }
      for (int s = 0; s < count; s++) carried = nan_max(carried, tops[s]);
      __syncthreads();
      if (t < head_dim) {
        const float* part = o + (first + base) * head_dim + t;
#pragma unroll 8
        for (int s = 0; s < count; s++) {
          const float next = part[(long long)s * head_dim], a = before[s], b = after[s];
          sum = base + s ? __fmaf_rn(sums[s], b, __fmul_rn(sum, a)) : sums[0];
          value = base + s ? __fmaf_rn(next, b, __fmul_rn(value, a)) : next;
        }
      }
      __syncthreads();
    }
    put(item, t < head_dim ? __fdiv_rn(value, sum) : 0.0f);
  }
}
