// The one header every kernel file includes: what CUDA C++ alone does not give, for the GPU by inline PTX (no CUDA
// headers: NVRTC needs no include path), for the CPU by the twins in engine/devices/host/csrc/tensor.h.
#pragma once
#ifndef ZEROULP_HOST

// What sm_90 has beyond sm_80 is used where HOPPER is defined, and never changes a bit. Compiled with ZEROULP_PORTABLE a
// kernel does without, whatever runs it.
#if __CUDA_ARCH__ >= 900 && !defined(ZEROULP_PORTABLE)
#define HOPPER
#endif

#define DYN_SHARED(T, name)                                       \
  extern __shared__ __align__(16) unsigned char dynamic_shared[]; \
  T* name = reinterpret_cast<T*>(dynamic_shared)

// Waits until the launches before this one have ended and their writes are visible. Before the first access to
// anything an earlier kernel wrote, unless it is settled, and before the first global write.
__device__ __forceinline__ void pdl_wait() {
#ifdef HOPPER
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Lets the next launch of the stream start (it still waits at its own pdl_wait for this one to end). A launch that does
// so behind its own pdl_wait settles what was written before it: those before it have ended when one behind it starts.
__device__ __forceinline__ void pdl_launch_dependents() {
#ifdef HOPPER
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// A word that is settled, before pdl_wait: from where all writes meet, past what a multiprocessor may still hold of it.
__device__ __forceinline__ int load_settled(const int* address) {
  int value;
  asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}

// 16 bytes that are read once and never written by any kernel (weights): past L1.
__device__ __forceinline__ uint4 load_streaming(const uint4* address) {
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(address));
  return v;
}

// Copies of 16 bytes from global memory to shared memory that run beside the thread: what is copied is there for this
// thread after its wait(), for others after the next barrier. MOST: copies of a thread between two waits, at most.
// Or in groups: commit() ends one, wait_all_but<N>() waits for all but the N youngest; MOST counts the copies under way.
template <int MOST> struct AsyncCopies {
  // Without `present` the 16 bytes become zero and nothing is read.
  template <class T> __device__ __forceinline__ void copy(T* shared, const T* global, bool present = true) {
    static_assert(sizeof(T) == 16, "one piece");
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"((unsigned)__cvta_generic_to_shared(shared)),
                 "l"(global), "r"(present ? 16 : 0)
                 : "memory");
  }
  __device__ __forceinline__ void wait() { asm volatile("cp.async.wait_all;" ::: "memory"); }
  __device__ __forceinline__ void commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
  template <int YOUNGEST> __device__ __forceinline__ void wait_all_but() {
    asm volatile("cp.async.wait_group %0;" ::"n"(YOUNGEST) : "memory");
  }
};

// For one thread of a block, after a barrier: whether this block, with `own` parts of `count`, is the last to come to the
// counter, which is zero before the first one comes and again after the last. What all of them wrote before is then there
// for the threads of this one, after its next barrier.
__device__ __forceinline__ bool last_to_arrive(unsigned* counter, unsigned count, unsigned own = 1) {
  unsigned before;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;" : "=r"(before) : "l"(counter), "r"(own) : "memory");
  if (before + own != count) return false;
  asm volatile("red.relaxed.gpu.global.and.b32 [%0], 0;" ::"l"(counter) : "memory");
  return true;
}

// float16 by its bits. To float: exact. From float: round to nearest even, past 65504 infinity, NaN stays NaN.
__device__ __forceinline__ float half_to_float(unsigned short half) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
}
__device__ __forceinline__ unsigned short float_to_half(float value) {
  unsigned short half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
  return half;
}

// D = A * B + C for one 16 x 8 tile, A 16 x 32 and B 32 x 8 int8, C and D int32; all 32 lanes. With group = lane / 4
// and t = lane % 4 (PTX ISA, "Matrix Fragments for mma.m16n8k32"), byte j of a register being element 4t + j:
//   a[0] row group, k 0..15    a[1] row group + 8, k 0..15    a[2] row group, k 16..31    a[3] row group + 8, k 16..31
//   b[0] column group, k 0..15    b[1] column group, k 16..31
//   c, d: rows group, group, group + 8, group + 8; columns 2t, 2t + 1, 2t, 2t + 1
__device__ __forceinline__ void mma_m16n8k32_s8(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                                const int (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %11, %12, %13};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}
// The same with k 0..15 only: a[0] row group, a[1] row group + 8, b[0] column group.
__device__ __forceinline__ void mma_m16n8k16_s8(int (&d)[4], const unsigned (&a)[2], const unsigned (&b)[1],
                                                const int (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%7, %8, %9, %10};"
      : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b[0]), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]));
}

// Four matrices of 8 rows of 16 bytes out of shared memory; all 32 lanes. Lane l names row l % 8 of matrix l / 8 and gets
// word l % 4 of row l / 4 of each: fragments of the operands above.
__device__ __forceinline__ void load_matrices(unsigned (&words)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"((unsigned)__cvta_generic_to_shared(row))
               : "memory");
}

// What the clocks of this thread's multiprocessor show: its own cycles, the GPU's nanoseconds, and which one it is.
// Cycles of one multiprocessor cannot be compared with those of another.
struct Clocks {
  long long cycles, nanoseconds;
  int multiprocessor;
};
__device__ __forceinline__ Clocks read_clocks() {
  Clocks clocks;
  asm volatile(
      "mov.u64 %0, %%clock64;\n\tmov.u64 %1, %%globaltimer;\n\tmov.u32 %2, %%smid;"
      : "=l"(clocks.cycles), "=l"(clocks.nanoseconds), "=r"(clocks.multiprocessor)::"memory");
  return clocks;
}

// Every lane gets the sum of its warp, all lanes at once: v = v + v of lane ^ m for m = 16, 8, 4, 2, 1 (NUMERICS 4).
// All 32 lanes take part. On the CPU one operation instead of five shuffles, with the same additions.
__device__ __forceinline__ float butterfly_sum(float value) {
  for (int m = 16; m; m >>= 1) value = __fadd_rn(value, __shfl_xor_sync(0xffffffffu, value, m));
  return value;
}

// Every lane gets the largest of its warp's, and their sum. All 32 lanes take part.
__device__ __forceinline__ int warp_max(int value) {
  int most;
  asm volatile("redux.sync.max.s32 %0, %1, 0xffffffff;" : "=r"(most) : "r"(value));
  return most;
}
__device__ __forceinline__ int warp_total(int value) {
  int total;
  asm volatile("redux.sync.add.s32 %0, %1, 0xffffffff;" : "=r"(total) : "r"(value));
  return total;
}

#endif

// Whether a multiprocessor has more than 164 KiB of shared memory.
#if defined(HOPPER) || defined(ZEROULP_HOST)
static constexpr bool LARGE_SHARED = true;
#else
static constexpr bool LARGE_SHARED = false;
#endif

// bfloat16 by its bits: exact.
__device__ __forceinline__ float bf16_to_float(unsigned short bf16) { return __uint_as_float((unsigned)bf16 << 16); }
// Round to nearest even; NaN becomes the quiet NaN 0x7fff.
__device__ __forceinline__ unsigned short float_to_bf16(float value) {
  const unsigned word = __float_as_uint(value);
  if ((word & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
  return (unsigned short)((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
}
