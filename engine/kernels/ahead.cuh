// Bringing into L2 what a later launch will read, while memory would be idle.
#pragma once
#include "portable.cuh"

// Weights that a later launch will read, to be brought into L2 while memory is idle. Nothing depends on it.
struct Ahead {
  const unsigned char* start;  // may be null
  long long bytes;
};
// Share `part` of `parts` of it, by the threads of a block.
__device__ __forceinline__ void bring(const Ahead& ahead, int part, int parts) {
  const int threads = (int)blockDim.x;
  for (long long i = ((long long)part * threads + threadIdx.x) * 128; i < ahead.bytes; i += 128ll * parts * threads)
    prefetch_line(ahead.start + i);
}
