// Repacked weights in memory (engine/weights/tiles.py) and how a kernel takes codes and scales out of them.
//
// A tile is 32 output rows by COLS columns: pieces of 16 bytes, ordered [piece][row], then a tail of TAIL bytes a row.
// Tiles are ordered [row group][k tile]. One type has CHUNKS chunks of 128 columns in a tile and PIECES pieces of codes
// in a chunk; piece(chunk, i) is the place of the i-th of them. Per block of 32 columns a Header gives one Scale (a Pair
// is what of it two blocks, an even one and the next, need; PAIRS differ in a chunk, and a copy of one would wait for
// it to come from memory), and
// fields() gives for t = 0 .. 3 two words of four codes with OFFSET added: low = elements 4t .. 4t + 3, high = elements
// 16 + 4t .. 16 + 4t + 3. That is the order of an mma.m16n8k32 fragment; `words(i, t)` is word t of the i-th piece of the chunk.
#pragma once
#include "portable.cuh"

static constexpr int TILE_ROWS = 32, CHUNK = 128, BLOCK = 32, CHUNK_BLOCKS = CHUNK / BLOCK, PIECE_BYTES = 16;

// One row of a tile of which ROWS rows lie together: all TILE_ROWS in memory, or the strip of a matvec.
template <class Op, int ROWS = TILE_ROWS> struct TileRow {
  const unsigned char* tile;
  int row;
  __device__ __forceinline__ uint4 piece(int i) const { return reinterpret_cast<const uint4*>(tile)[i * ROWS + row]; }
  template <class T> __device__ __forceinline__ T tail() const {
    return reinterpret_cast<const T*>(tile + Op::TILE_PIECES * PIECE_BYTES * ROWS)[row];
  }
};

__device__ __forceinline__ uint4 load_piece(const unsigned char* tile, int piece, int row) {
  return load_streaming(reinterpret_cast<const uint4*>(tile) + piece * TILE_ROWS + row);
}
__device__ __forceinline__ unsigned word_of(const uint4& piece, int t) {
  return t == 0 ? piece.x : t == 1 ? piece.y : t == 2 ? piece.z : piece.w;
}
__device__ __forceinline__ int byte_of(unsigned word, int i) { return (int)((word >> (8 * i)) & 255u); }
__device__ __forceinline__ int signed_byte_of(unsigned word, int i) { return (int)(signed char)(word >> (8 * i)); }

// Takes `offsets` off four bytes of 0 .. 127; each is 128 more meanwhile, so that none borrows from the next.
__device__ __forceinline__ unsigned subtract_bytes(unsigned bytes, unsigned offsets) {
  return (bytes + (0x80808080u - offsets)) ^ 0x80808080u;
}

// Byte j of a piece: element j in the low nibble, element j + 16 in the high one.
template <class Words>
__device__ __forceinline__ void nibbles(unsigned& low, unsigned& high, const Words& words, int block, int t) {
  const unsigned word = words(block, t);
  low = word & 0x0f0f0f0fu;
  high = (word >> 4) & 0x0f0f0f0fu;
}
// Byte j of piece 4: fifth bit of element j of block b at bit b, of element j + 16 at bit 4 + b.
template <class Words>
__device__ __forceinline__ void fifth_bits(unsigned& low, unsigned& high, const Words& words, int block, int t) {
  const unsigned word = words(CHUNK_BLOCKS, t);
  low |= (word << (4 - block)) & 0x10101010u;
  high |= (word >> block) & 0x10101010u;
}
// Byte j of piece 4 (blocks 0, 1) or 5 (blocks 2, 3): upper bits of element j at bits 2 (b % 2), of j + 16 at 4 + 2 (b % 2).
template <class Words>
__device__ __forceinline__ void upper_bits(unsigned& low, unsigned& high, const Words& words, int block, int t) {
  const int shift = 2 * (block % 2);
  const unsigned word = words(CHUNK_BLOCKS + block / 2, t);
  low |= (word << (4 - shift)) & 0x30303030u;
  high |= (word >> shift) & 0x30303030u;
}

// ---- Q8_0, Q4_0, Q5_0: 128 columns, the float16 scales of the four blocks in the tail ----

template <int PIECES_> struct ScaledTile {
  static constexpr int COLS = 128, CHUNKS = 1, PIECES = PIECES_, TILE_PIECES = PIECES, TAIL = 8, PAIRS = 1;
  static constexpr int TILE_BYTES = TILE_ROWS * (TILE_PIECES * PIECE_BYTES + TAIL);
  static constexpr bool MINIMA = false, HALVES = false;
  struct Header {
    uint2 d;
  };
  struct Scale {
    float d;
  };
  template <class Row> static __device__ __forceinline__ Header header(const Row& row) {
    return {row.template tail<uint2>()};
  }
  static __device__ __forceinline__ Header chunk(const Header& header, int) { return header; }
  using Pair = Header;
  static __device__ __forceinline__ Pair pair(const unsigned char* tile, int row, int) {
    return header(TileRow<ScaledTile>{tile, row});
  }
  static __device__ __forceinline__ Scale scale(const Header& header, int block) {
    return {half_to_float((unsigned short)((block < 2 ? header.d.x : header.d.y) >> (16 * (block % 2))))};
  }
  static __device__ __forceinline__ int piece(int, int i) { return i; }
  static __device__ __forceinline__ float dot(const Scale&, int low, int high) { return __int2float_rn(low + high); }
  static __device__ __forceinline__ float step(float a, const Scale& scale, float dot, float x_scale, float) {
    return __fmaf_rn(__fmul_rn(scale.d, x_scale), dot, a);
  }
  static __device__ __forceinline__ float value(const Scale& scale, int code, int) {
    return __fmul_rn(scale.d, __int2float_rn(code));
  }
};

struct Q8_0 : ScaledTile<8> {
  static constexpr int OFFSET = 0;
  template <class Words>
  static __device__ __forceinline__ void fields(unsigned& low, unsigned& high, const Words& words, int block, int t) {
    low = words(2 * block, t);
    high = words(2 * block + 1, t);
  }
};

struct Q4_0 : ScaledTile<4> {
  static constexpr int OFFSET = 8;
  template <class Words>
  static __device__ __forceinline__ void fields(unsigned& low, unsigned& high, const Words& words, int block, int t) {
    nibbles(low, high, words, block, t);
  }
};

struct Q5_0 : ScaledTile<5> {
  static constexpr int OFFSET = 16;
  template <class Words>
  static __device__ __forceinline__ void fields(unsigned& low, unsigned& high, const Words& words, int block, int t) {
    nibbles(low, high, words, block, t);
    fifth_bits(low, high, words, block, t);
  }
};

// ---- Q4_K, Q5_K: 256 columns; piece 0 holds d, dmin and the twelve bytes of 6-bit scales and minima ----

template <int PIECES_> struct OffsetTile {
  static constexpr int COLS = 256, CHUNKS = 2, PIECES = PIECES_, TILE_PIECES = 1 + CHUNKS * PIECES, TAIL = 0, PAIRS = 1;
  static constexpr int TILE_BYTES = TILE_ROWS * PIECE_BYTES * TILE_PIECES;
  static constexpr bool MINIMA = true, HALVES = false;
  struct Header {
    uint4 words;
  };
  struct __align__(8) Scale {
    float scale, minimum;  // fmul(d, sc), fmul(dmin, m)
  };
  template <class Row> static __device__ __forceinline__ Header header(const Row& row) { return {row.piece(0)}; }
  using Pair = Header;
  static __device__ __forceinline__ Pair pair(const unsigned char* tile, int row, int) { return {load_piece(tile, 0, row)}; }
  // A header whose first chunk is chunk c of this one.
  static __device__ __forceinline__ Header chunk(const Header& header, int c) {
    return {make_uint4(header.words.x, scales(header, c), minima(header, c), 0)};
  }
  // Scales 0 .. 3 are the low six bits of bytes 0 .. 3, minima 0 .. 3 those of bytes 4 .. 7; scales 4 .. 7 are the low
  // nibbles of bytes 8 .. 11 under the upper two bits of bytes 0 .. 3, minima 4 .. 7 the high ones under those of 4 .. 7.
  static __device__ __forceinline__ unsigned scales(const Header& header, int c) {
    return six_bits(header.words.y, header.words.w, c);
  }
  static __device__ __forceinline__ unsigned minima(const Header& header, int c) {
    return six_bits(header.words.z, header.words.w >> 4, c);
  }
  // No choice by c: it would become a branch where c is not known when compiled.
  static __device__ __forceinline__ unsigned six_bits(unsigned first, unsigned second, int c) {
    const unsigned low = first ^ ((first ^ second) & (0u - (unsigned)c));
    return (low & 0x0f0f0f0fu) | ((first >> (2 * c)) & 0x30303030u);
  }
  static __device__ __forceinline__ Scale scale(const Header& header, int block) {
    const unsigned halves = header.words.x;
    const int c = block / CHUNK_BLOCKS, i = block % CHUNK_BLOCKS;
    const float d = half_to_float((unsigned short)halves), dmin = half_to_float((unsigned short)(halves >> 16));
    return {__fmul_rn(d, __int2float_rn(byte_of(scales(header, c), i))),
            __fmul_rn(dmin, __int2float_rn(byte_of(minima(header, c), i)))};
  }
  // The nibbles of all blocks come first, then one piece of fifth bits for each chunk.
  static __device__ __forceinline__ int piece(int chunk, int i) {
    return i < CHUNK_BLOCKS ? 1 + CHUNK_BLOCKS * chunk + i : 1 + CHUNK_BLOCKS * CHUNKS + chunk;
  }
  static __device__ __forceinline__ float dot(const Scale&, int low, int high) { return __int2float_rn(low + high); }
  static __device__ __forceinline__ float step(float a, const Scale& scale, float dot, float x_scale, float x_sum) {
    a = __fmaf_rn(__fmul_rn(scale.scale, x_scale), dot, a);
    return __fmaf_rn(-scale.minimum, x_sum, a);
  }
  static __device__ __forceinline__ float value(const Scale& scale, int code, int) {
    return __fsub_rn(__fmul_rn(scale.scale, __int2float_rn(code)), scale.minimum);
  }
};

struct Q4_K : OffsetTile<4> {
  static constexpr int OFFSET = 0;
  template <class Words>
  static __device__ __forceinline__ void fields(unsigned& low, unsigned& high, const Words& words, int block, int t) {
    nibbles(low, high, words, block, t);
  }
};

struct Q5_K : OffsetTile<5> {
  static constexpr int OFFSET = 0;
  template <class Words>
  static __device__ __forceinline__ void fields(unsigned& low, unsigned& high, const Words& words, int block, int t) {
    nibbles(low, high, words, block, t);
    fifth_bits(low, high, words, block, t);
  }
};

// ---- Q6_K: 256 columns; 8 pieces of nibbles, 4 of upper bits, 1 of sixteen int8 scales, d as float16 in the tail ----

struct Q6_K {
  static constexpr int COLS = 256, CHUNKS = 2, PIECES = 6, SCALES = 12, TILE_PIECES = 13, TAIL = 2, PAIRS = 2;
  static constexpr int TILE_BYTES = TILE_ROWS * (TILE_PIECES * PIECE_BYTES + TAIL);
  static constexpr bool MINIMA = false, HALVES = true;
  struct Header {
    uint4 scales;
    unsigned short d;
  };
  struct Pair {
    unsigned word;
    unsigned short d;
  };
  struct __align__(8) Scale {
    float d;
    int pair;  // the scale of the first half of 16 in the lower 16 bits, of the second half in the upper
  };
  template <class Row> static __device__ __forceinline__ Header header(const Row& row) {
    return {row.piece(SCALES), row.template tail<unsigned short>()};
  }
  static __device__ __forceinline__ Header chunk(const Header& header, int c) {
    const uint4& s = header.scales;
    return {make_uint4(c == 0 ? s.x : s.z, c == 0 ? s.y : s.w, 0, 0), header.d};
  }
  static __device__ __forceinline__ Scale scale(const Header& header, int block) {
    return scale(Pair{word_of(header.scales, block / 2), header.d}, block);
  }
  static __device__ __forceinline__ Pair pair(const unsigned char* tile, int row, int block) {
    const unsigned* words = reinterpret_cast<const unsigned*>(tile + (SCALES * TILE_ROWS + row) * PIECE_BYTES);
    return {words[block / 2], TileRow<Q6_K>{tile, row}.template tail<unsigned short>()};
  }
  static __device__ __forceinline__ Pair chunk(const Pair& pair, int) { return pair; }
  static __device__ __forceinline__ Scale scale(const Pair& pair, int block) {
    const int first = signed_byte_of(pair.word, 2 * (block % 2)), second = signed_byte_of(pair.word, 2 * (block % 2) + 1);
    return {half_to_float(pair.d), (first & 0xffff) | (int)((unsigned)second << 16)};
  }
  static __device__ __forceinline__ int half_scale(const Scale& scale, int half) {
    return half ? scale.pair >> 16 : (int)(short)scale.pair;
  }
  static __device__ __forceinline__ int piece(int chunk, int i) {
    return i < CHUNK_BLOCKS ? CHUNK_BLOCKS * chunk + i : CHUNK_BLOCKS * CHUNKS + 2 * chunk + (i - CHUNK_BLOCKS);
  }
  static constexpr int OFFSET = 32;
  template <class Words>
  static __device__ __forceinline__ void fields(unsigned& low, unsigned& high, const Words& words, int block, int t) {
    nibbles(low, high, words, block, t);
    upper_bits(low, high, words, block, t);
  }
  static __device__ __forceinline__ float dot(const Scale& scale, int low, int high) {
    return __int2float_rn(half_scale(scale, 0) * low + half_scale(scale, 1) * high);
  }
  static __device__ __forceinline__ float step(float a, const Scale& scale, float dot, float x_scale, float) {
    return __fmaf_rn(__fmul_rn(scale.d, x_scale), dot, a);
  }
  static __device__ __forceinline__ float value(const Scale& scale, int code, int half) {
    return __fmul_rn(__fmul_rn(scale.d, __int2float_rn(half_scale(scale, half))), __int2float_rn(code));
  }
};

// The int8 codes themselves.
template <class Op, class Words>
__device__ __forceinline__ void codes_of(unsigned& low, unsigned& high, const Words& words, int block, int t) {
  Op::fields(low, high, words, block, t);
  if (Op::OFFSET) {
    low = subtract_bytes(low, 0x01010101u * Op::OFFSET);
    high = subtract_bytes(high, 0x01010101u * Op::OFFSET);
  }
}

// ---- float types: 128 columns, VALUES consecutive values in a piece ----

struct F32 {
  static constexpr int VALUES = 4;
  static __device__ __forceinline__ float value(const uint4& piece, int i) { return __uint_as_float(word_of(piece, i)); }
};

struct F16 {
  static constexpr int VALUES = 8;
  static __device__ __forceinline__ float value(const uint4& piece, int i) {
    return half_to_float((unsigned short)(word_of(piece, i / 2) >> (16 * (i % 2))));
  }
};

struct BF16 {
  static constexpr int VALUES = 8;
  static __device__ __forceinline__ float value(const uint4& piece, int i) {
    return bf16_to_float((unsigned short)(word_of(piece, i / 2) >> (16 * (i % 2))));
  }
};
