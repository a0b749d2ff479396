// Host twins of the PTX that portable.cuh wraps.
#pragma once

// No launch overlaps another here. In check mode the rule of its use is checked all the same: see checker.h.
static inline void pdl_wait() {
#ifdef SIMT_CHECK
  simt::api.pdl_wait();
#endif
}
static inline void pdl_launch_dependents() {
#ifdef SIMT_CHECK
  simt::api.pdl_launch_dependents();
#endif
}

static inline int load_settled(const int* address) { return *address; }

static inline uint4 load_streaming(const uint4* address) { return *address; }

// cp.async. Copies as late as the GPU may: at the wait, so that a use before it finds what was there before.
template <int MOST> struct AsyncCopies {
  struct Copy {
    uint4* shared;
    const uint4* global;  // null: zeros
    int group;
  };
  Copy pending[MOST];
  int count = 0, group = 0;  // that is being filled

  template <class T> void copy(T* shared, const T* global, bool present = true) {
    static_assert(sizeof(T) == 16, "one piece");
    if (count == MOST) __builtin_trap();
#ifdef SIMT_CHECK
    if (present) simt::api.asked(global, sizeof(T));
#endif
    pending[count++] = {(uint4*)shared, present ? (const uint4*)global : nullptr, group};
  }
  void wait() { finish(group + 1); }
  void commit() { group++; }
  template <int YOUNGEST> void wait_all_but() { finish(group - YOUNGEST); }

  // Does the copies of the groups before `end`.
  void finish(int end) {
    int left = 0;
    for (int i = 0; i < count; i++) {
      const Copy copy = pending[i];
      if (copy.group >= end) pending[left++] = copy;
      else *copy.shared = copy.global ? *copy.global : uint4{0, 0, 0, 0};
    }
    count = left;
  }
};

// atom.acq_rel.add, and zero behind the last. In check mode the blocks that came before hand over what they wrote: see checker.h.
static inline bool last_to_arrive(unsigned* counter, unsigned count, unsigned own = 1) {
  const unsigned before =
      simt::read_modify_write(counter, [&](unsigned old) { return old + own == count ? 0u : old + own; });
#ifdef SIMT_CHECK
  simt::api.arrived(counter, before + own == count);
#endif
  return before + own == count;
}

// mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32
static inline void mma_m16n8k32_s8(int (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], const int (&c)[4],
                                   int site = __builtin_LINE()) {
  simt::Fragments fragments{a, b, c, d};
  simt::api.warp_operation(simt::MMA_S8_K32, simt::ALL, 0, 0, &fragments, site);
}
// mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32
static inline void mma_m16n8k16_s8(int (&d)[4], const unsigned (&a)[2], const unsigned (&b)[1], const int (&c)[4],
                                   int site = __builtin_LINE()) {
  simt::Fragments fragments{a, b, c, d};
  simt::api.warp_operation(simt::MMA_S8_K16, simt::ALL, 0, 0, &fragments, site);
}
// ldmatrix.sync.aligned.m8n8.x4.shared.b16
static inline void load_matrices(unsigned (&words)[4], const void* row, int site = __builtin_LINE()) {
  const int lane = (int)threadIdx.x % 32;
  for (int i = 0; i < 4; i++)
    words[i] = __shfl_sync(simt::ALL, (const unsigned*)row, 8 * i + lane / 4, 32, site)[lane % 4];
}
// Every lane gets the sum of the warp, added as v = v + shfl_xor(v, m) for m = 16, 8, 4, 2, 1.
static inline float butterfly_sum(float value, int site = __builtin_LINE()) {
  return simt::unpack<float>(
      simt::api.warp_operation(simt::BUTTERFLY_SUM, simt::ALL, simt::pack(value), 0, nullptr, site));
}

// redux.sync
static inline int warp_max(int value, int site = __builtin_LINE()) {
  for (int m = 16; m; m >>= 1) value = max(value, __shfl_xor_sync(simt::ALL, value, m, 32, site));
  return value;
}
static inline int warp_total(int value, int site = __builtin_LINE()) {
  for (int m = 16; m; m >>= 1) value += __shfl_xor_sync(simt::ALL, value, m, 32, site);
  return value;
}

// A clock of one tick a nanosecond, out of the CPU's own ticks; every block has a multiprocessor to itself.
struct Clocks {
  long long cycles, nanoseconds;
  int multiprocessor;
};
static inline Clocks read_clocks() {
  const long long ticks = (long long)__builtin_ia32_rdtsc();
  return {ticks, ticks, (int)blockIdx.x};
}

#if defined(__F16C__)  // by the compiler's own names: immintrin.h would double the time to compile a kernel
namespace simt {
typedef float Float4 __attribute__((vector_size(16)));
typedef short Short8 __attribute__((vector_size(16)));
}  // namespace simt
#endif

static inline float half_to_float(unsigned short half) {
#if defined(__F16C__)
  return __builtin_ia32_vcvtph2ps(simt::Short8{(short)half})[0];
#else
  const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = (half >> 10) & 31, mantissa = half & 1023;
  if (exponent == 31) return simt::bits<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent) return simt::bits<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  return simt::bits<float>(simt::bits<uint32_t>((float)mantissa * 0x1p-24f) | sign);  // exact
#endif
}
static inline unsigned short float_to_half(float value) {
#if defined(__F16C__)
  return (unsigned short)__builtin_ia32_vcvtps2ph(simt::Float4{value}, 0)[0];
#else
  const uint32_t word = simt::bits<uint32_t>(value), sign = (word >> 16) & 0x8000, magnitude = word & 0x7fffffff;
  if (magnitude > 0x7f800000) return (unsigned short)(sign | 0x7e00 | ((magnitude >> 13) & 0x1ff));
  if (magnitude >= 0x477ff000) return (unsigned short)(sign | 0x7c00);
  if (magnitude < 0x38800000)  // subnormal result: let the float adder round
    return (unsigned short)(sign | (simt::bits<uint32_t>(simt::bits<float>(magnitude) + 0.5f) - 0x3f000000));
  return (unsigned short)(sign | ((magnitude + 0xc8000fffu + ((magnitude >> 13) & 1)) >> 13));
#endif
}
