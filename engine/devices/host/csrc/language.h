// CUDA C++ for a C++ compiler: qualifiers, vector types, built-in variables, barriers, warp collectives and atomics.
// Included before a kernel file. There is no thread-local state: every worker loads its own copy of the module.
#pragma once
#include <stdio.h>
#include <string.h>

#include "abi.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __noinline__ __attribute__((noinline))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
// A function-local static without initialiser: the loader finds it by its symbol (see elf.py).
#define __shared__ static __attribute__((aligned(16)))
#define DYN_SHARED(T, name) T* name = reinterpret_cast<T*>(simt::context.dynamic_shared)

namespace simt {
SIMT_LOCAL extern Context context;
SIMT_LOCAL extern Api api;
}  // namespace simt
#define threadIdx (simt::context.thread)
#define blockIdx (simt::context.block)
#define blockDim (simt::context.block_dim)
#define gridDim (simt::context.grid_dim)
static constexpr int warpSize = 32;

#define SIMT_VECTOR(T, N)                                                                             \
  struct alignas(2 * sizeof(T)) N##2 { T x, y; };                                                     \
  struct N##3 { T x, y, z; };                                                                         \
  struct alignas(4 * sizeof(T) > 16 ? 16 : 4 * sizeof(T)) N##4 { T x, y, z, w; };                     \
  static inline N##2 make_##N##2(T x, T y) { return {x, y}; }                                         \
  static inline N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SIMT_VECTOR(float, float)
SIMT_VECTOR(int, int)
SIMT_VECTOR(signed char, char)
SIMT_VECTOR(unsigned char, uchar)
SIMT_VECTOR(short, short)
SIMT_VECTOR(unsigned short, ushort)
#undef SIMT_VECTOR
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) longlong2 { long long x, y; };
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace simt {
template <class To, class From> static inline To bits(From from) {
  static_assert(sizeof(To) == sizeof(From), "sizes differ");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
template <class T> static inline uint64_t pack(T value) {
  static_assert(sizeof(T) <= 8 && __is_trivially_copyable(T), "at most 8 plain bytes");
  uint64_t packed = 0;
  memcpy(&packed, &value, sizeof value);
  return packed;
}
template <class T> static inline T unpack(uint64_t packed) {
  T value;
  memcpy(&value, &packed, sizeof value);
  return value;
}
static inline int lane() { return (int)(context.thread.x & 31); }
static constexpr uint32_t ALL = 0xffffffffu;
}  // namespace simt

// ---- barriers and warp collectives ----

static inline void __syncthreads(int site = __builtin_LINE()) { simt::api.block_barrier(site); }
static inline void __syncwarp(unsigned mask = simt::ALL, int site = __builtin_LINE()) {
  simt::api.warp_operation(simt::SYNC, mask, 0, 0, nullptr, site);
}
static inline void __threadfence() { asm volatile("" ::: "memory"); }
static inline void __threadfence_block() { asm volatile("" ::: "memory"); }

namespace simt {
template <class T> static inline T shuffle(unsigned mask, T value, int source, int site) {
  return unpack<T>(api.warp_operation(SHUFFLE, mask, pack(value), source, nullptr, site));
}
}  // namespace simt
template <class T>
static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, int site = __builtin_LINE()) {
  const int base = simt::lane() & ~(width - 1);
  return simt::shuffle(mask, value, base + (source & (width - 1)), site);
}
template <class T>
static inline T __shfl_xor_sync(unsigned mask, T value, int xor_mask, int width = 32, int site = __builtin_LINE()) {
  const int lane = simt::lane(), source = lane ^ xor_mask;
  const bool inside = (source & ~(width - 1)) <= (lane & ~(width - 1));
  return simt::shuffle(mask, value, inside ? source : lane, site);
}
template <class T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, int site = __builtin_LINE()) {
  const int lane = simt::lane();
  return simt::shuffle(mask, value, (lane & (width - 1)) + (int)by < width ? lane + (int)by : lane, site);
}
template <class T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, int site = __builtin_LINE()) {
  const int lane = simt::lane();
  return simt::shuffle(mask, value, (lane & (width - 1)) >= (int)by ? lane - (int)by : lane, site);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate, int site = __builtin_LINE()) {
  return (unsigned)simt::api.warp_operation(simt::BALLOT, mask, predicate != 0, 0, nullptr, site);
}
static inline int __any_sync(unsigned mask, int predicate, int site = __builtin_LINE()) {
  return __ballot_sync(mask, predicate, site) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, int site = __builtin_LINE()) {
  return __ballot_sync(mask, !predicate, site) == 0;
}

// ---- memory ----

template <class T> static inline T __ldg(const T* address) { return *address; }

namespace simt {
template <class T, class F> static inline T read_modify_write(T* address, F change) {  // atomic across workers too
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "atomics have 4 or 8 bytes");
  api.atomic_begin(address, sizeof(T));
  for (uint64_t old = api.atomic_load(address, sizeof(T));;) {
    const uint64_t seen = api.atomic_exchange(address, old, pack(change(unpack<T>(old))), sizeof(T));
    if (seen == old) return unpack<T>(old);
    old = seen;
  }
}
}  // namespace simt
template <class T> static inline T atomicAdd(T* p, T v) {
  return simt::read_modify_write(p, [&](T old) { return (T)(old + v); });
}
template <class T> static inline T atomicMax(T* p, T v) {
  return simt::read_modify_write(p, [&](T old) { return old < v ? v : old; });
}
template <class T> static inline T atomicMin(T* p, T v) {
  return simt::read_modify_write(p, [&](T old) { return v < old ? v : old; });
}
template <class T> static inline T atomicExch(T* p, T v) {
  return simt::read_modify_write(p, [&](T) { return v; });
}
template <class T> static inline T atomicCAS(T* p, T expected, T v) {
  return simt::read_modify_write(p, [&](T old) { return old == expected ? v : old; });
}

#include "arithmetic.h"
#include "tensor.h"
