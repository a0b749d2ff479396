// What both ways of computing attention share: splits, cache cells, tiles of queries.
#pragma once
#include "canon.cuh"

static const int SPLIT = 256;        // keys of a split, NUMERICS 10
static const int LARGEST_HEAD = 256;  // values of a head

// Sizes of a step. A query is one head of one row; the queries that read one key head are numbered row by row, then by
// head: query n of key head h is row n / group, head h * group + n % group.
struct Step {
  int rows, heads, kv_heads, head_dim, context;
  __device__ __forceinline__ int group() const { return heads / kv_heads; }
  __device__ __forceinline__ int queries() const { return rows * group(); }
  // Of query n of a key head: row * heads + head.
  __device__ __forceinline__ long long head_of(int n, int kv_head) const {
    const int row = n / group();
    return (long long)row * heads + kv_head * group() + (n - row * group());
  }
  // How many keys of the split that starts at `first` query n sees; none if there is no such query.
  __device__ __forceinline__ int visible(int n, int position, int first) const {
    if (n >= queries()) return 0;
    const int seen = min(position + n / group() + 1, context) - first;
    return min(max(seen, 0), SPLIT);
  }
};

// A cache cell is a float or the bits of a float16; two of the latter make a word, the lower first.
template <class Cell> struct Packed;
template <> struct Packed<float> {
  static const int PER_WORD = 1, PER_PIECE = 4;
  static __device__ __forceinline__ void unpack(float* to, unsigned word) { to[0] = __uint_as_float(word); }
};
template <> struct Packed<unsigned short> {
  static const int PER_WORD = 2, PER_PIECE = 8;
  static __device__ __forceinline__ void unpack(float* to, unsigned word) {
    to[0] = half_to_float((unsigned short)(word & 0xffffu));
    to[1] = half_to_float((unsigned short)(word >> 16));
  }
};
__device__ __forceinline__ float value_of(float cell) { return cell; }
__device__ __forceinline__ float value_of(unsigned short cell) { return half_to_float(cell); }
template <class Cell> __device__ __forceinline__ void unpack_piece(float* to, uint4 piece) {
  const int n = Packed<Cell>::PER_WORD;
  Packed<Cell>::unpack(to, piece.x);
  Packed<Cell>::unpack(to + n, piece.y);
  Packed<Cell>::unpack(to + 2 * n, piece.z);
  Packed<Cell>::unpack(to + 3 * n, piece.w);
}

// Words `at` .. `at` + 3 of memory that ends at word `end`; zero past it. `whole`: start and end lie on 16 bytes.
__device__ __forceinline__ uint4 load_piece(const unsigned* from, int at, int end, bool whole) {
  uint4 piece = make_uint4(0u, 0u, 0u, 0u);
  if (whole) {
    if (at < end) piece = *reinterpret_cast<const uint4*>(from + at);
  } else {
    if (at < end) piece.x = from[at];
    if (at + 1 < end) piece.y = from[at + 1];
    if (at + 2 < end) piece.z = from[at + 2];
    if (at + 3 < end) piece.w = from[at + 3];
  }
  return piece;
}

// The words of key head `kv_head` of a cache (kv_heads, context, head_dim), from position `first` on.
template <class Cell>
__device__ __forceinline__ const unsigned* cache_words(const Cell* cache, const Step& step, int kv_head, int first) {
  return reinterpret_cast<const unsigned*>(cache + ((long long)kv_head * step.context + first) * step.head_dim);
}
