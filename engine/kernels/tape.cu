// What a launch wrote, in 20 bytes a row: a hash of its bits, its largest magnitude, its count of NaN.
// Formula:  hash = sum over the elements of a row of mix(index << 32 | bits), modulo 2^64; every NaN has the bits of one
// Grid:     one item per row; 1024 threads.
// Order:    none: integer sums and maxima come out the same in any order.
// Rounding: none.
// Traffic:  the values once.
#include "canon.cuh"

static const int THREADS = 1024;

struct Element {
  unsigned bits, magnitude;  // of a NaN no magnitude
  bool nan;
};

__device__ __forceinline__ Element element(float x) {
  const unsigned bits = is_nan(x) ? 0x7fc00000u : __float_as_uint(x);
  return {bits, is_nan(x) ? 0u : bits & 0x7fffffffu, is_nan(x)};
}
__device__ __forceinline__ Element element(unsigned short half) {
  const unsigned magnitude = half & 0x7fffu;
  const bool nan = magnitude > 0x7c00u;
  return {nan ? 0x7e00u : (unsigned)half, nan ? 0u : magnitude, nan};
}
__device__ __forceinline__ Element element(signed char code) {
  return {(unsigned)(unsigned char)code, (unsigned)(code < 0 ? -(int)code : (int)code), false};
}

// The finaliser of splitmix64: every bit of the result depends on every bit of x.
__device__ __forceinline__ unsigned long long mix(unsigned long long x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

struct Totals {
  unsigned long long hash;
  unsigned top, nans;
};

__device__ __forceinline__ Totals warp_totals(Totals mine) {
  for (int m = 16; m; m >>= 1) {
    mine.hash += __shfl_xor_sync(WHOLE_WARP, mine.hash, m);
    mine.top = max(mine.top, __shfl_xor_sync(WHOLE_WARP, mine.top, m));
    mine.nans += __shfl_xor_sync(WHOLE_WARP, mine.nans, m);
  }
  return mine;
}

// Where the values of a row lie: `parts` pieces of `span` values, `stride` apart; rows `pitch` apart. With `cached`
// row 0 is the one at position[0] of a cache, else the first in memory.
struct Layout {
  int rows, parts, span, pitch, stride, cached;
};

template <class T>
__device__ __forceinline__ void note(unsigned long long* hashes, int* notes, const T* values, const int* position,
                                     Layout at, int op, int ring, int first) {
  __shared__ unsigned long long hash_of[THREADS / 32];
  __shared__ unsigned top_of[THREADS / 32], nans_of[THREADS / 32];
  const int t = (int)threadIdx.x, width = at.parts * at.span;
  pdl_launch_dependents();
  pdl_wait();
  const int start = position[0];
  for (int row = (int)blockIdx.x; row < at.rows; row += (int)gridDim.x) {
    const long long place = at.cached ? start + row : row;
    if (start < 0 || (at.cached && place * at.pitch >= at.stride)) continue;  // past the end of the cache
    Totals mine = {0, 0, 0};
    for (int i = t; i < width; i += THREADS) {
      const Element e = element(values[place * at.pitch + (long long)(i / at.span) * at.stride + i % at.span]);
      mine.hash += mix((unsigned long long)i << 32 | e.bits);
      mine.top = max(mine.top, e.magnitude);
      mine.nans += e.nan;
    }
    mine = warp_totals(mine);
    if ((t & 31) == 0) {
      hash_of[t >> 5] = mine.hash;
      top_of[t >> 5] = mine.top;
      nans_of[t >> 5] = mine.nans;
    }
    __syncthreads();
    if (t < 32) {
      mine = warp_totals({hash_of[t], top_of[t], nans_of[t]});
      const int at_position = start + first + row;
      const long long slot = (long long)op * ring + at_position % ring;
      if (t == 0) {
        hashes[slot] = mine.hash;
        notes[3 * slot] = at_position;
        notes[3 * slot + 1] = (int)mine.top;
        notes[3 * slot + 2] = (int)mine.nans;
      }
    }
    __syncthreads();  // the shared arrays are written again for the next row
  }
}

// hashes: (ops, ring); notes: (ops, ring, 3): position, largest magnitude, NaN; position: (1,), that of the step;
// row r of `values` is that of position[0] + first + r. A position takes the slot position % ring of its op.
#define TAPE(name, type)                                                                                              \
  extern "C" __global__ void __launch_bounds__(THREADS)                                                               \
  tape_##name(unsigned long long* hashes, int* notes, const type* values, const int* position, int op, int ring,      \
              int first, int rows, int parts, int span, int pitch, int stride, int cached) {                          \
    note(hashes, notes, values, position, Layout{rows, parts, span, pitch, stride, cached}, op, ring, first);         \
  }
TAPE(f32, float)
TAPE(f16, unsigned short)
TAPE(i8, signed char)

// out: (nbytes,), source: (nbytes,), copied only in a step whose `rows` rows, the first being `first` rows past
// position[0], include the position `wanted`; taken: (2,) then says which pass that was, and where it stood.
extern "C" __global__ void __launch_bounds__(THREADS)
tape_copy(unsigned char* out, int* taken, const unsigned char* source, const int* position, long long nbytes, int wanted,
          int first, int rows, int pass) {
  pdl_launch_dependents();
  pdl_wait();
  const int start = position[0] + first;
  if (wanted < start || wanted >= start + rows) return;
  const long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  for (long long i = t; i < nbytes; i += (long long)gridDim.x * blockDim.x) out[i] = source[i];
  if (t == 0) {
    taken[0] = pass;
    taken[1] = position[0];
  }
}
