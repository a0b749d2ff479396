// Arithmetic that several kernels share, each piece in the one order that reference/NUMERICS.md gives it.
#pragma once
#include "portable.cuh"

static const unsigned WHOLE_WARP = 0xffffffffu;

__device__ __forceinline__ bool is_nan(float x) { return x != x; }
__device__ __forceinline__ float absolute(float x) { return __uint_as_float(__float_as_uint(x) & 0x7fffffffu); }

// The larger of two; NaN if either is. Of -0 and +0 either may come: no result depends on which.
__device__ __forceinline__ float nan_max(float a, float b) { return a > b || is_nan(a) ? a : b; }

// nan_max of all 32 lanes, in every lane: by integers in the order of the floats, with every NaN at the top.
__device__ __forceinline__ float warp_nan_max(float x) {
  const int bits = __float_as_int(x);
  const int most = warp_max(is_nan(x) ? 0x7fffffff : bits ^ (bits >> 31 & 0x7fffffff));
  return __int_as_float(most ^ (most >> 31 & 0x7fffffff));
}

// Sum of all 32 lanes in every lane: the tree 16, 8, 4, 2, 1 of NUMERICS 4. All 32 lanes take part.
__device__ __forceinline__ float warp_sum(float x) { return butterfly_sum(x); }

// What brings a row of n values to unit root mean square, NUMERICS 4, from the sums of squares of its blocks of 32, in
// every lane. All 32 lanes take part.
__device__ __forceinline__ float norm_scale(const float* squares, int blocks, int n, float eps) {
  float chain = 0.0f;
  for (int b = (int)threadIdx.x & 31; b < blocks; b += 32) chain = __fadd_rn(chain, squares[b]);
  const float mean = __fdiv_rn(warp_sum(chain), __int2float_rn(n));
  return __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, eps)));
}

// exp(x), NUMERICS 2, for an x of at most 88 or NaN: +0 below -87, NaN stays NaN.
__device__ __forceinline__ float exp32_to_88(float x) {
  const float inside = x < -87.0f ? -88.0f : x;  // rather than selecting the result, which becomes a branch
  const float shift = 0x1.8p+23f;  // adding it rounds to an integer, half to even, and leaves that in the lowest bits
  const float shifted = __fadd_rn(__fmul_rn(inside, 0x1.715476p+0f), shift);
  const float n = __fsub_rn(shifted, shift);
  float r = __fmaf_rn(n, -0x1.62e4p-1f, inside);
  r = __fmaf_rn(n, -0x1.7f7d1cp-20f, r);
  float p = __uint_as_float(0x3950a8c8u);
  p = __fmaf_rn(p, r, __uint_as_float(0x3ab6a19eu));
  p = __fmaf_rn(p, r, __uint_as_float(0x3c088863u));
  p = __fmaf_rn(p, r, __uint_as_float(0x3d2aaa74u));
  p = __fmaf_rn(p, r, __uint_as_float(0x3e2aaaabu));
  p = __fmaf_rn(p, r, __uint_as_float(0x3f000000u));
  p = __fadd_rn(__fmaf_rn(__fmul_rn(p, r), r, r), 1.0f);
  const unsigned power = (__float_as_uint(shifted) << 23) + 0x3f800000u;  // of the float 2^n; 0 of -88, where n is -127
  return __fmul_rn(p, __uint_as_float(power));                            // exact: the result is normal, or 0
}

// exp(x), NUMERICS 2: +0 below -87, exp(88) above 88, NaN stays NaN.
__device__ __forceinline__ float exp32(float x) { return exp32_to_88(x > 88.0f ? 88.0f : x); }

// One value of swiglu, NUMERICS 11.
__device__ __forceinline__ float gated(float gate, float up) {
  return __fmul_rn(__fdiv_rn(gate, __fadd_rn(1.0f, exp32(-gate))), up);
}

// Four of the 32 values of a block that is quantised, and what the whole block shares.
struct QuantizedPart {
  char4 codes;
  float scale;  // D of NUMERICS 5
  float sum;    // S of NUMERICS 5
};

// The code of one value, by the formula.
__device__ __forceinline__ int divided_code(float x, float scale) {
  const float t = __fdiv_rn(x, scale);
  const int code = t > 127.0f ? 127 : t < -127.0f ? -127 : is_nan(t) ? 0 : __float2int_rn(t);
  return scale == 0.0f ? 0 : code;
}

// D of NUMERICS 5 from the bits of amax: fdiv(amax, 127). Between 2^-100 and 2^101 a product with the rounded 1 / 127 and
// one correction by its exact remainder give the rounded quotient (Markstein's theorem).
__device__ __forceinline__ float quantized_scale(int top) {
  const float amax = __int_as_float(top), part = 0x1.020408p-7f, near = __fmul_rn(amax, part);
  if (top != 0 && (top < 0x0d800000 || top > 0x72000000)) return __fdiv_rn(amax, 127.0f);
  return __fmaf_rn(__fmaf_rn(-127.0f, near, amax), part, near);
}

// 1 / scale, off by less than 2^-22 of it, for a scale between 2^-110 and 2^110; 0 for 0, else NaN.
__device__ __forceinline__ float inverse_of(float scale) {
  const int bits = __float_as_int(scale);
  float y = __int_as_float(0x7ef311c7 - bits);  // off by an eighth at most; each step squares that
#pragma unroll
  for (int i = 0; i < 3; i++) y = __fmaf_rn(y, __fmaf_rn(-scale, y, 1.0f), y);
  return bits == 0 ? 0.0f : bits > 0x08800000 && bits < 0x76800000 ? y : __uint_as_float(0x7fc00000u);
}

// The integer nearest to x / scale, as far as a product with `inverse` can tell: that is off by less than 2^-14, so that
// the code is `sure` where it is not that near to a half.
struct NearCode {
  int code;
  bool sure;
};
__device__ __forceinline__ NearCode near_code(float x, float inverse) {
  const float shift = 0x1.8p+23f, t = __fmul_rn(x, inverse), shifted = __fadd_rn(t, shift);  // as in exp32_to_88
  const float rest = absolute(__fsub_rn(t, __fsub_rn(shifted, shift)));
  return {__float_as_int(shifted) - __float_as_int(shift), rest < 0.4999f && absolute(t) < 127.25f};
}

// NUMERICS 5 for one block of 32: eight neighbouring lanes hold four neighbouring values each. All 32 lanes take part,
// which is four blocks at once.
__device__ __forceinline__ QuantizedPart quantize_block(float4 x) {
  const unsigned magnitude = 0x7fffffffu;
  int top = max(max((int)(__float_as_uint(x.x) & magnitude), (int)(__float_as_uint(x.y) & magnitude)),
                max((int)(__float_as_uint(x.z) & magnitude), (int)(__float_as_uint(x.w) & magnitude)));
  for (int m = 4; m; m >>= 1) top = max(top, __shfl_xor_sync(WHOLE_WARP, top, m));
  const float scale = quantized_scale(top), inverse = inverse_of(scale);
  const NearCode near[4] = {near_code(x.x, inverse), near_code(x.y, inverse), near_code(x.z, inverse),
                            near_code(x.w, inverse)};
  int a = near[0].code, b = near[1].code, c = near[2].code, d = near[3].code;
  if (!(near[0].sure && near[1].sure && near[2].sure && near[3].sure)) {
    a = divided_code(x.x, scale), b = divided_code(x.y, scale);
    c = divided_code(x.z, scale), d = divided_code(x.w, scale);
  }
  int total = a + b + c + d;
  for (int m = 4; m; m >>= 1) total += __shfl_xor_sync(WHOLE_WARP, total, m);
  QuantizedPart part;
  part.codes = make_char4((signed char)a, (signed char)b, (signed char)c, (signed char)d);
  part.scale = scale;
  part.sum = __fmul_rn(scale, __int2float_rn(total));
  return part;
}

// One of the 32 values of a block that is quantised, and what the whole block shares.
struct QuantizedValue {
  signed char code;
  float scale;  // D of NUMERICS 5
  float sum;    // S of NUMERICS 5
};

// NUMERICS 5 for one block of 32, a value in each lane. All 32 lanes take part.
__device__ __forceinline__ QuantizedValue quantize_value(float x) {
  const int top = warp_max((int)(__float_as_uint(x) & 0x7fffffffu));
  const float scale = quantized_scale(top);
  const NearCode near = near_code(x, inverse_of(scale));
  const int code = near.sure ? near.code : divided_code(x, scale);
  return {(signed char)code, scale, __fmul_rn(scale, __int2float_rn(warp_total(code)))};
}
