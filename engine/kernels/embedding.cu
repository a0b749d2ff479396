// The rows of the embedding table that the tokens name, dequantised.
// Formula:  NUMERICS 3.
// Grid:     any, 256 threads; items are (row, 2048 columns); a thread makes 8 elements.
// Order:    none: element by element.
// Rounding: as in the formula of the type; a token outside the table gives a row of NaN.
// Traffic:  the repacked table's bytes of the named rows, once; out written once.
#include "weights.cuh"

static constexpr int ITEM_COLS = 2048, THREAD_COLS = 8;

__device__ __forceinline__ float not_a_number() { return __uint_as_float(0x7fc00000u); }

template <class Tile> struct TileWords {
  const unsigned char* tile;
  int chunk, row;
  __device__ __forceinline__ unsigned operator()(int i, int t) const {
    return reinterpret_cast<const unsigned*>(tile + (Tile::piece(chunk, i) * TILE_ROWS + row) * PIECE_BYTES)[t];
  }
};

// Elements 4t .. 4t + 3 and 16 + 4t .. 16 + 4t + 3 of one block; dim is a multiple of 32.
template <class Tile>
__device__ __forceinline__ void quantized_rows(float* out, const int* tokens, const unsigned char* table, int rows,
                                               int vocab, int dim) {
  const int tiles = (dim + Tile::COLS - 1) / Tile::COLS, pieces = (dim + ITEM_COLS - 1) / ITEM_COLS;
  pdl_wait();
  pdl_launch_dependents();  // not before: a pass begins here, and attention_step counts on what earlier ones wrote
  for (int item = blockIdx.x; item < rows * pieces; item += gridDim.x) {
    const int first = item % pieces * ITEM_COLS + (int)threadIdx.x / 4 * BLOCK, t = threadIdx.x % 4;
    if (first >= dim) continue;
    const int token = tokens[item / pieces];
    float4 low = make_float4(not_a_number(), not_a_number(), not_a_number(), not_a_number()), high = low;
    if (token >= 0 && token < vocab) {
      const int block = first % Tile::COLS / BLOCK;
      const unsigned char* tile =
          table + ((long long)(token / TILE_ROWS) * tiles + first / Tile::COLS) * Tile::TILE_BYTES;
      const TileWords<Tile> words{tile, block / CHUNK_BLOCKS, token % TILE_ROWS};
      const typename Tile::Scale scale = Tile::scale(Tile::header(TileRow<Tile>{tile, token % TILE_ROWS}), block);
      unsigned a, b;
      codes_of<Tile>(a, b, words, block % CHUNK_BLOCKS, t);
      low = make_float4(Tile::value(scale, signed_byte_of(a, 0), 0), Tile::value(scale, signed_byte_of(a, 1), 0),
                        Tile::value(scale, signed_byte_of(a, 2), 0), Tile::value(scale, signed_byte_of(a, 3), 0));
      high = make_float4(Tile::value(scale, signed_byte_of(b, 0), 1), Tile::value(scale, signed_byte_of(b, 1), 1),
                         Tile::value(scale, signed_byte_of(b, 2), 1), Tile::value(scale, signed_byte_of(b, 3), 1));
    }
    float4* at = reinterpret_cast<float4*>(out + (long long)(item / pieces) * dim + first);
    at[t] = low;
    at[4 + t] = high;
  }
}

template <class Type>
__device__ __forceinline__ void float_rows(float* out, const int* tokens, const unsigned char* table, int rows, int vocab,
                                           int dim) {
  const int tiles = (dim + CHUNK - 1) / CHUNK, pieces = (dim + ITEM_COLS - 1) / ITEM_COLS;
  const int tile_bytes = TILE_ROWS * CHUNK / Type::VALUES * PIECE_BYTES;
  pdl_wait();
  pdl_launch_dependents();  // not before: a pass begins here, and attention_step counts on what earlier ones wrote
  for (int item = blockIdx.x; item < rows * pieces; item += gridDim.x) {
    const long long row = item / pieces;
    const int token = tokens[row];
    for (int i = 0; i < THREAD_COLS; i++) {
      const int col = item % pieces * ITEM_COLS + i * (int)blockDim.x + (int)threadIdx.x;
      if (col >= dim) break;
      float value = not_a_number();
      if (token >= 0 && token < vocab) {
        const unsigned char* tile = table + ((long long)(token / TILE_ROWS) * tiles + col / CHUNK) * tile_bytes;
        value = Type::value(load_piece(tile, col % CHUNK / Type::VALUES, token % TILE_ROWS), col % Type::VALUES);
      }
      out[row * dim + col] = value;
    }
  }
}

// out: (rows, dim), tokens: (rows,), table: tiles of (vocab, dim)
#define EMBEDDING_ARGUMENTS float *out, const int *tokens, const unsigned char *table, int rows, int vocab, int dim
extern "C" __global__ void embedding_f32(EMBEDDING_ARGUMENTS) { float_rows<F32>(out, tokens, table, rows, vocab, dim); }
extern "C" __global__ void embedding_f16(EMBEDDING_ARGUMENTS) { float_rows<F16>(out, tokens, table, rows, vocab, dim); }
extern "C" __global__ void embedding_bf16(EMBEDDING_ARGUMENTS) { float_rows<BF16>(out, tokens, table, rows, vocab, dim); }
extern "C" __global__ void embedding_q8_0(EMBEDDING_ARGUMENTS) { quantized_rows<Q8_0>(out, tokens, table, rows, vocab, dim); }
extern "C" __global__ void embedding_q4_0(EMBEDDING_ARGUMENTS) { quantized_rows<Q4_0>(out, tokens, table, rows, vocab, dim); }
extern "C" __global__ void embedding_q5_0(EMBEDDING_ARGUMENTS) { quantized_rows<Q5_0>(out, tokens, table, rows, vocab, dim); }
extern "C" __global__ void embedding_q4_k(EMBEDDING_ARGUMENTS) { quantized_rows<Q4_K>(out, tokens, table, rows, vocab, dim); }
extern "C" __global__ void embedding_q5_k(EMBEDDING_ARGUMENTS) { quantized_rows<Q5_K>(out, tokens, table, rows, vocab, dim); }
extern "C" __global__ void embedding_q6_k(EMBEDDING_ARGUMENTS) { quantized_rows<Q6_K>(out, tokens, table, rows, vocab, dim); }
