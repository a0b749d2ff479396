// A few activation rows in shared memory: their way there, and where each lane of a warp finds and leaves its part.
//
// The weights of a strip are the mma's A operand and the rows its columns: lane (g, t) = (lane / 4, lane % 4) makes the sums
// of chunks of outputs g and g + 8 for two rows.
#pragma once
#include "matvec.cuh"
#include "tile_dots.cuh"

static constexpr int FEW_ROWS = 8;  // of a band
static constexpr int NARROW_ROWS = FEW_ROWS / STEP_CHUNKS;  // of which the chunks of a step fit into the columns together

// The activations of some rounds of a band, side by side, and the sums of chunks of one round or of two. Rows lie so far
// apart that the loads and the stores of a warp meet in no bank.
struct FewStage {
  static constexpr int CODES_PAD = 16, TERMS_PAD = 4, SUMS_PAD = 4;  // bytes, floats, floats
  unsigned char *codes, *zeros;  // zeros: codes of a chunk, in other banks than those of the rows
  float *scales, *sums, *partial;
  int codes_pitch, terms_pitch, sums_pitch;  // of a row: bytes, floats, floats
  int most, rows;    // of the largest band and of this one
  int chunk, place;  // where those of this round begin: its activations, its sums

  // span: columns of activations.
  __device__ __forceinline__ FewStage(unsigned char* shared, int span, int most, int strips, bool with_sums)
      : codes(shared),
        zeros(shared + most * (span + CODES_PAD)),
        scales(reinterpret_cast<float*>(zeros + CHUNK)),
        sums(scales + most * (span / BLOCK + TERMS_PAD)),
        partial(sums + (with_sums ? most * (span / BLOCK + TERMS_PAD) : 0)),
        codes_pitch(span + CODES_PAD),
        terms_pitch(span / BLOCK + TERMS_PAD),
        sums_pitch(strips * STRIP_ROWS + SUMS_PAD),
        most(most),
        rows(most),
        chunk(0),
        place(0) {
    if (threadIdx.x < CHUNK / PIECE_BYTES) reinterpret_cast<uint4*>(zeros)[threadIdx.x] = make_uint4(0, 0, 0, 0);
  }

  // Asks for `count` chunks of the band that starts at row `row`, from chunk `first` on, to lie at chunk `to`.
  template <bool SUMS, class Copies>
  __device__ __forceinline__ void ask(Copies& copies, const Activations& x, int row, int first, int to, int count) const {
    const int rows = min(most, x.rows - row), warp = threadIdx.x / 32;
    const int spare = (rows > 4 ? 0 : rows > 2 ? 1 : rows > 1 ? 2 : 3) + (blockDim.x > MATVEC_THREADS);
    const int r = warp >> spare, step = 32 << spare, piece = threadIdx.x & (step - 1);  // 2^spare warps bring a row
    if (r >= rows) return;
    const long long from = (long long)(row + r) * (x.cols / CHUNK) + first;
    const int codes_count = count * CHUNK / PIECE_BYTES, term = r * terms_pitch + to * CHUNK_BLOCKS;
    copy_pieces(copies, codes + r * codes_pitch + to * CHUNK, x.codes + from * CHUNK, piece, codes_count, step);
    copy_pieces(copies, scales + term, x.scales + from * CHUNK_BLOCKS, piece, count, step);
    if (SUMS) copy_pieces(copies, sums + term, x.sums + from * CHUNK_BLOCKS, piece, count, step);
  }
  template <class Copies>
  static __device__ __forceinline__ void copy_pieces(Copies& copies, void* to, const void* from, int first, int count, int step) {
#pragma unroll 1
    for (int i = first; i < count; i += step)
      copies.copy(reinterpret_cast<uint4*>(to) + i, reinterpret_cast<const uint4*>(from) + i);
  }
  // To a round whose activations begin at chunk `first`; its sums go where those of the round before are not, if there are
  // two places of `length` chunks.
  __device__ __forceinline__ void turn(int first, int length, int places) {
    chunk = first;
    if (places == 2) place = length - place;
  }
  __device__ __forceinline__ float* chunk_sums(int c, int row) const {
    return partial + ((place + c) * most + row) * sums_pitch;
  }
};

// The part of a lane in the steps of a band. More than four rows: columns and rows are the same, rows 2t and 2t + 1 are this
// lane's. Up to four take the two chunks of a step side by side: columns 0 .. 3 are the rows in the first chunk, 4 .. 7 those
// in the second, so that a lane folds the blocks of one chunk only, chunk t / 2 of the step for rows 2 (t % 2) and the next;
// zeros stand in their place in the products of the other chunk. For a row that the band lacks its last row is read, and the
// sums are left out.
struct FewLane {
  bool narrow;        // up to four rows, side by side
  int part, row;      // its chunk of a step, the first of its two rows
  int codes[2];       // bytes to the column that it names to load_matrices, for either chunk of a step
  int codes_step;     // from the first of them to the next chunk: all of a chunk, or nothing where they are zeros
  int terms[2], sum;  // floats to the scales and the sums of its rows, to the sum of chunk 0 of its first output and row

  __device__ __forceinline__ FewLane(const FewStage& stage, bool narrow) : narrow(narrow) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, last = stage.rows - 1, named = threadIdx.x % 8;
    part = narrow ? t / 2 : 0;
    row = 2 * (narrow ? t % 2 : t);
    const int column = min(narrow ? named % NARROW_ROWS : named, last) * stage.codes_pitch;
    const int zeros = (int)(stage.zeros - stage.codes);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const bool mine = !narrow || i == named / NARROW_ROWS;
      codes[i] = (mine ? column : zeros) + threadIdx.x % 32 / 8 * PIECE_BYTES;
      terms[i] = min(row + i, last) * stage.terms_pitch;
    }
    codes_step = !narrow || named < NARROW_ROWS ? CHUNK : 0;
    sum = row * stage.sums_pitch + g;
  }
  // The columns of the products of a chunk: two words for each block. chunk: of the stage.
  __device__ __forceinline__ void columns(unsigned (&to)[CHUNK_BLOCKS / 2][4], const FewStage& stage, int i, int chunk) const {
    const unsigned char* from = stage.codes + codes[i] + chunk * (i ? CHUNK - codes_step : codes_step);
#pragma unroll
    for (int pair = 0; pair < CHUNK_BLOCKS / 2; pair++) load_matrices(to[pair], from + pair * 2 * BLOCK);
  }
  // of: scales or sums of the stage.
  __device__ __forceinline__ void chunk_terms(float (&to)[CHUNK_BLOCKS], const float* of, int i, int chunk) const {
    spread(to, *reinterpret_cast<const float4*>(of + terms[i] + chunk * CHUNK_BLOCKS));
  }
};
