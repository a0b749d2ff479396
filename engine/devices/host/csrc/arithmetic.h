// Integer and float intrinsics. Floats: IEEE operations rounded to nearest even only (build with -ffp-contract=off).
#pragma once

static inline int __dp4a(int a, int b, int c) {
  unsigned sum = (unsigned)c;
  for (int i = 0; i < 4; i++) sum += (unsigned)((int)(int8_t)(a >> (8 * i)) * (int)(int8_t)(b >> (8 * i)));
  return (int)sum;
}
static inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 4; i++) c += ((a >> (8 * i)) & 255u) * ((b >> (8 * i)) & 255u);
  return c;
}
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t source = ((uint64_t)y << 32) | x;
  unsigned result = 0;
  for (int i = 0; i < 4; i++) {
    const unsigned pick = selector >> (4 * i), byte = (unsigned)(source >> (8 * (pick & 7))) & 255;
    result |= (pick & 8 ? (byte & 128 ? 255u : 0u) : byte) << (8 * i);
  }
  return result;
}
template <class T> static inline T min(T a, T b) {
  static_assert(T(0.5) == T(0), "a float minimum swallows NaN: select instead");
  return b < a ? b : a;
}
template <class T> static inline T max(T a, T b) {
  static_assert(T(0.5) == T(0), "a float maximum swallows NaN: select instead");
  return a < b ? b : a;
}

static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline float __fsqrt_rn(float a) { return __builtin_sqrtf(a); }
static inline float __fmaf_rn(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline int __float_as_int(float a) { return simt::bits<int>(a); }
static inline unsigned __float_as_uint(float a) { return simt::bits<unsigned>(a); }
static inline float __int_as_float(int a) { return simt::bits<float>(a); }
static inline float __uint_as_float(unsigned a) { return simt::bits<float>(a); }
static inline float __int2float_rn(int a) { return (float)a; }
static inline float __uint2float_rn(unsigned a) { return (float)a; }

namespace simt {
static inline int saturating_int(float a, float rounded) {  // PTX cvt.s32.f32: NaN gives 0
  if (a != a) return 0;
  if (a >= 2147483648.0f) return 2147483647;
  if (a < -2147483648.0f) return -2147483647 - 1;
  return (int)rounded;
}
}  // namespace simt
static inline int __float2int_rn(float a) { return simt::saturating_int(a, __builtin_rintf(a)); }
static inline int __float2int_rz(float a) { return simt::saturating_int(a, __builtin_truncf(a)); }

// Not IEEE on the GPU, or swallowing NaN: a use in a kernel fails to compile.
#define SIMT_BANNED(name)                                                                          \
  template <class... A> float name(A...) {                                                         \
    static_assert(sizeof...(A) == 99, #name " has no place in a kernel: see reference/NUMERICS.md"); \
    return 0;                                                                                      \
  }
SIMT_BANNED(simt_expf) SIMT_BANNED(__expf) SIMT_BANNED(simt_rsqrtf) SIMT_BANNED(__fdividef) SIMT_BANNED(simt_tanhf)
SIMT_BANNED(simt_sinf) SIMT_BANNED(simt_cosf) SIMT_BANNED(simt_logf) SIMT_BANNED(simt_powf) SIMT_BANNED(simt_sqrtf)
SIMT_BANNED(simt_fmaxf) SIMT_BANNED(simt_fminf) SIMT_BANNED(__logf) SIMT_BANNED(__sinf) SIMT_BANNED(__cosf)
#undef SIMT_BANNED
#define expf simt_expf
#define rsqrtf simt_rsqrtf
#define tanhf simt_tanhf
#define sinf simt_sinf
#define cosf simt_cosf
#define logf simt_logf
#define powf simt_powf
#define sqrtf simt_sqrtf
#define fmaxf simt_fmaxf
#define fminf simt_fminf
