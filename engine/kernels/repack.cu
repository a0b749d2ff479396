// Rows of a matrix as a model file stores them to the tiles that kernels read (engine/weights/tiles.py).
// Formula:  none: the same bits in other places; zero where a tile reaches past the rows or columns of the matrix.
// Grid:     any, 256 threads; an item is one piece of the 32 rows of a tile, or their tails: a warp, lane = row.
// Order:    none.
// Rounding: none.
// Traffic:  the stored bytes read (those of codes that two pieces share twice), the tiles written once.
#include "weights.cuh"

// One row of the file, zero past its end. Blocks and their fields begin at even bytes, and many at no multiple of four.
struct StoredRow {
  const unsigned char* bytes;
  int count;
  __device__ __forceinline__ unsigned half(int at) const {
    return at < count ? *reinterpret_cast<const unsigned short*>(bytes + at) : 0u;
  }
  __device__ __forceinline__ unsigned word(int at) const { return half(at) | half(at + 2) << 16; }
};

// Word t of a piece made from the 32 bytes from `at` on, which stand for 32 elements in each nibble: byte j holds the
// low nibbles, or the high ones, of bytes j and j + 16.
__device__ __forceinline__ unsigned nibble_word(const StoredRow& row, int at, bool high, int t) {
  const unsigned first = row.word(at + 4 * t), second = row.word(at + 16 + 4 * t);
  return high ? ((first >> 4) & 0x0f0f0f0fu) | (second & 0xf0f0f0f0u)
              : (first & 0x0f0f0f0fu) | (second & 0x0f0f0f0fu) << 4;
}
// Bit i of four at bit 0 of byte i.
__device__ __forceinline__ unsigned spread(unsigned bits) { return ((bits & 15u) * 0x00204081u) & 0x01010101u; }

// ---- by type: word t of a piece, with the tile's first block at byte `at`; where the i-th half of the tail stands ----

struct StoredQ8_0 : Q8_0 {
  static __device__ __forceinline__ unsigned word(const StoredRow& row, int at, int piece, int t) {
    return row.word(at + piece / 2 * 34 + 2 + piece % 2 * 16 + 4 * t);
  }
  static __device__ __forceinline__ int tail(int i) { return i * 34; }
};

struct StoredQ4_0 : Q4_0 {
  static __device__ __forceinline__ unsigned word(const StoredRow& row, int at, int piece, int t) {
    return row.word(at + piece * 18 + 2 + 4 * t);
  }
  static __device__ __forceinline__ int tail(int i) { return i * 18; }
};

struct StoredQ5_0 : Q5_0 {
  static __device__ __forceinline__ unsigned word(const StoredRow& row, int at, int piece, int t) {
    if (piece < CHUNK_BLOCKS) return row.word(at + piece * 22 + 6 + 4 * t);
    unsigned fifths = 0;
    for (int block = 0; block < CHUNK_BLOCKS; block++) {
      const unsigned bits = row.word(at + block * 22 + 2) >> (4 * t);
      fifths |= spread(bits) << block | spread(bits >> 16) << (CHUNK_BLOCKS + block);
    }
    return fifths;
  }
  static __device__ __forceinline__ int tail(int i) { return i * 22; }
};

struct StoredQ4_K : Q4_K {
  static __device__ __forceinline__ unsigned word(const StoredRow& row, int at, int piece, int t) {
    if (piece == 0) return row.word(at + 4 * t);
    return nibble_word(row, at + 16 + (piece - 1) / 2 * 32, piece % 2 == 0, t);
  }
};

struct StoredQ5_K : Q5_K {
  static constexpr int FIFTHS = 9;
  static __device__ __forceinline__ unsigned word(const StoredRow& row, int at, int piece, int t) {
    if (piece == 0) return row.word(at + 4 * t);
    if (piece >= FIFTHS) return nibble_word(row, at + 16, piece > FIFTHS, t);
    return nibble_word(row, at + 48 + (piece - 1) / 2 * 32, piece % 2 == 0, t);
  }
};

// Of the 64 bytes of codes for a half, the first 32 give blocks 0 and 2, the last 32 blocks 1 and 3.
struct StoredQ6_K : Q6_K {
  static constexpr int UPPER = 8;
  static __device__ __forceinline__ unsigned word(const StoredRow& row, int at, int piece, int t) {
    if (piece == SCALES) return row.word(at + 192 + 4 * t);
    if (piece >= UPPER) return nibble_word(row, at + 128 + (piece - UPPER) / 2 * 32, piece % 2 == 1, t);
    return nibble_word(row, at + piece / 4 * 64 + piece % 2 * 32, piece / 2 % 2 == 1, t);
  }
  static __device__ __forceinline__ int tail(int) { return 208; }
};

template <class Type> struct StoredFloats {
  static constexpr int TILE_PIECES = CHUNK / Type::VALUES, TAIL = 0, TILE_BYTES = TILE_ROWS * PIECE_BYTES * TILE_PIECES;
  static __device__ __forceinline__ unsigned word(const StoredRow& row, int at, int piece, int t) {
    return row.word(at + piece * PIECE_BYTES + 4 * t);
  }
};

// ---- one kernel ----

template <class Stored>
__device__ __forceinline__ void repack(unsigned char* tiles, const unsigned char* stored, int rows, int row_bytes) {
  constexpr int BYTES = Stored::TILE_BYTES / TILE_ROWS, PLACES = Stored::TILE_PIECES + (Stored::TAIL > 0);
  const int across = (row_bytes + BYTES - 1) / BYTES, items = (rows + TILE_ROWS - 1) / TILE_ROWS * across * PLACES;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  pdl_launch_dependents();
  pdl_wait();
  for (int item = blockIdx.x * warps + warp; item < items; item += gridDim.x * warps) {
    const int tile = item / PLACES, piece = item % PLACES, at = tile % across * BYTES;
    const long long number = tile / across * TILE_ROWS + lane;
    const StoredRow row{stored + number * row_bytes, number < rows ? row_bytes : 0};
    unsigned char* to = tiles + (long long)tile * Stored::TILE_BYTES;
    if (piece < Stored::TILE_PIECES) {
      reinterpret_cast<uint4*>(to)[piece * TILE_ROWS + lane] =
          make_uint4(Stored::word(row, at, piece, 0), Stored::word(row, at, piece, 1), Stored::word(row, at, piece, 2),
                     Stored::word(row, at, piece, 3));
    } else if constexpr (Stored::TAIL > 0) {
      unsigned short* tail =
          reinterpret_cast<unsigned short*>(to + Stored::TILE_PIECES * PIECE_BYTES * TILE_ROWS + lane * Stored::TAIL);
      for (int i = 0; i < Stored::TAIL / 2; i++) tail[i] = (unsigned short)row.half(at + Stored::tail(i));
    }
  }
}

// tiles: those of (rows, row_bytes of the type); stored: (rows, row_bytes)
#define REPACK_ARGUMENTS unsigned char *tiles, const unsigned char *stored, int rows, int row_bytes
extern "C" __global__ void repack_f32(REPACK_ARGUMENTS) { repack<StoredFloats<F32>>(tiles, stored, rows, row_bytes); }
extern "C" __global__ void repack_f16(REPACK_ARGUMENTS) { repack<StoredFloats<F16>>(tiles, stored, rows, row_bytes); }
extern "C" __global__ void repack_bf16(REPACK_ARGUMENTS) { repack<StoredFloats<BF16>>(tiles, stored, rows, row_bytes); }
extern "C" __global__ void repack_q8_0(REPACK_ARGUMENTS) { repack<StoredQ8_0>(tiles, stored, rows, row_bytes); }
extern "C" __global__ void repack_q4_0(REPACK_ARGUMENTS) { repack<StoredQ4_0>(tiles, stored, rows, row_bytes); }
extern "C" __global__ void repack_q5_0(REPACK_ARGUMENTS) { repack<StoredQ5_0>(tiles, stored, rows, row_bytes); }
extern "C" __global__ void repack_q4_k(REPACK_ARGUMENTS) { repack<StoredQ4_K>(tiles, stored, rows, row_bytes); }
extern "C" __global__ void repack_q5_k(REPACK_ARGUMENTS) { repack<StoredQ5_K>(tiles, stored, rows, row_bytes); }
extern "C" __global__ void repack_q6_k(REPACK_ARGUMENTS) { repack<StoredQ6_K>(tiles, stored, rows, row_bytes); }
