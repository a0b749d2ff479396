// matvec with quantised weights: one activation row. One of the three skeletons of matmul.cuh.
//
// A strip is 16 output rows, half a tile, of one weight; a step is 256 columns of a strip, of which lanes 0 .. 15 take
// the first chunk of 128 and lanes 16 .. 31 the second, a row each. A work item is a few strips for one band of activation
// rows, which is one row here.
// Every warp has a ring of steps in shared memory, filled by copies that run ahead over all items of its block: the
// first of them start before pdl_wait. Sums of chunks meet in shared memory, where one warp folds them from the left.
#pragma once
#include "canon.cuh"
#include "weights.cuh"

static constexpr int STRIP_ROWS = 16, STEP_COLS = 256, STEP_CHUNKS = STEP_COLS / CHUNK;
static constexpr int MATVEC_WARPS = 8, MATVEC_THREADS = 32 * MATVEC_WARPS;

// 16 rows by 256 columns in shared memory: one tile or two, each its pieces ordered [piece][row], then its tails.
template <class Op> struct Step {
  static constexpr int TILES = STEP_COLS / Op::COLS, CODES = Op::TILE_PIECES * STRIP_ROWS;
  static constexpr int TILE_UNITS = CODES + STRIP_ROWS * Op::TAIL / PIECE_BYTES;  // of 16 bytes
  static constexpr int BYTES = TILES * TILE_UNITS * PIECE_BYTES;
  static constexpr int COPIES = TILES * ((CODES + 31) / 32 + (Op::TAIL > 0));  // of a lane
  static constexpr int DEPTH = BYTES <= 2816 ? 3 : 2;  // of a ring
  static constexpr int RESIDENT = BYTES <= 3360 ? 3 : 2;  // blocks on a multiprocessor, by their registers
};

struct Strip {
  const unsigned char* weight;
  int group, half;  // of 32 rows; which half of them
};

// `span` columns of one activation row, and the sums of chunks of one item: [strip][chunk][row].
struct MatvecStage {
  uint4* codes;
  float *scales, *sums, *partial;

  __device__ __forceinline__ MatvecStage(unsigned char* shared, int span, bool with_sums)
      : codes(reinterpret_cast<uint4*>(shared)),
        scales(reinterpret_cast<float*>(shared + span)),
        sums(scales + span / BLOCK),
        partial(sums + (with_sums ? span / BLOCK : 0)) {}
};

// Where item `item` of a product lies that has `bands` of each unit of outputs. One band is the rule, and a division takes
// longer than all else before a block asks for its activations.
__device__ __forceinline__ int unit_of(int item, int bands) { return bands == 1 ? item : item / bands; }
__device__ __forceinline__ int band_of(int item, int bands) { return bands == 1 ? 0 : item % bands; }

// Activations as 8-bit rows: codes (rows, cols), scales and sums (rows, cols / 32). With squares, those of the `blocks` of 32
// of one row, scales and sums still lack the factor of the norm that the row has gone through.
struct Activations {
  const signed char* codes;
  const float *scales, *sums;
  int rows, cols;
  const float* squares = nullptr;
  int blocks = 0;
  float eps = 0.0f;

  // `count` blocks of 32 of a row, from block `first` on, by all threads, of which there are `threads`. What a thread brings
  // in a round is asked for before any of it is put down, because nothing else is done while it comes: 256 pieces are all
  // codes of 4096 columns.
  template <bool SUMS>
  __device__ __forceinline__ void fill(MatvecStage& stage, int row, int first, int count, int threads) const {
    const long long block = (long long)row * (cols / BLOCK) + first;
    const uint4* pieces = reinterpret_cast<const uint4*>(codes) + 2 * block;
    float factor = 1.0f;  // which changes no bit
#pragma unroll 1
    for (int start = 0; start < 2 * count; start += threads) {
      const int i = start + (int)threadIdx.x;
      const bool has_piece = i < 2 * count, has_terms = i < count;
      uint4 piece = {};
      if (has_piece) piece = pieces[i];
      const float scale = has_terms ? scales[block + i] : 0.0f, sum = SUMS && has_terms ? sums[block + i] : 0.0f;
      if (blocks && start == 0) factor = norm_scale(squares, blocks, BLOCK * blocks, eps);
      if (has_piece) stage.codes[i] = piece;
      if (has_terms) stage.scales[i] = __fmul_rn(scale, factor);
      if (SUMS && has_terms) stage.sums[i] = __fmul_rn(sum, factor);
    }
  }
};

// Where a lane finds its pieces of a step: those of the first step of a strip, in memory.
template <class Op> __device__ __forceinline__ const unsigned char* first_step(const Strip& strip, int cols) {
  const int lane = threadIdx.x % 32;
  return strip.weight + (long long)strip.group * (cols / Op::COLS) * Op::TILE_BYTES +
         (lane / STRIP_ROWS * TILE_ROWS + strip.half * STRIP_ROWS + lane % STRIP_ROWS) * PIECE_BYTES;
}

// `from`: first_step, moved on by whole steps. tiles: how many there are from there on, one or more.
template <class Op, class Copies>
__device__ __forceinline__ void copy_step(Copies& copies, unsigned char* slot, const unsigned char* from, int half, int tiles) {
  using S = Step<Op>;
  const int lane = threadIdx.x % 32;
  constexpr int PAIR = 2 * TILE_ROWS * PIECE_BYTES, TAILS = S::TILE_UNITS - S::CODES;  // two pieces of all rows
  uint4* to = reinterpret_cast<uint4*>(slot) + lane;
#pragma unroll
  for (int k = 0; k < S::TILES; k++) {
    if (k && tiles < S::TILES) break;
    const unsigned char* tile = from + k * Op::TILE_BYTES;
#pragma unroll
    for (int i = 0; i < S::CODES / 32; i++)
      copies.copy(to + k * S::TILE_UNITS + 32 * i, reinterpret_cast<const uint4*>(tile + i * PAIR));
    if (S::CODES % 32 && lane < STRIP_ROWS)  // an odd number of pieces
      copies.copy(to + k * S::TILE_UNITS + S::CODES - STRIP_ROWS,
                  reinterpret_cast<const uint4*>(tile + S::CODES / 32 * PAIR));
    if (lane < TAILS)  // the tails of 16 rows lie together
      copies.copy(to + k * S::TILE_UNITS + S::CODES,
                  reinterpret_cast<const uint4*>(tile - half * STRIP_ROWS * PIECE_BYTES +
                                                 Op::TILE_PIECES * TILE_ROWS * PIECE_BYTES + half * STRIP_ROWS * Op::TAIL));
  }
}

struct RegisterWords {
  const uint4* pieces;
  __device__ __forceinline__ unsigned operator()(int i, int t) const { return word_of(pieces[i], t); }
};

// A_c of this lane's row and chunk of a step; `chunk` counts from the start of the stage.
template <class Op> __device__ __forceinline__ float chunk_sum(const unsigned char* slot, const MatvecStage& stage, int chunk) {
  const int half = threadIdx.x % 32 / STRIP_ROWS, c = Op::CHUNKS == 1 ? 0 : half;
  const TileRow<Op, STRIP_ROWS> row{slot + (Op::CHUNKS == 1 ? half * Step<Op>::TILE_UNITS * PIECE_BYTES : 0),
                                    (int)threadIdx.x % STRIP_ROWS};
  const typename Op::Header header = Op::header(row);
  uint4 pieces[Op::PIECES];
#pragma unroll
  for (int i = 0; i < Op::PIECES; i++) pieces[i] = row.piece(Op::piece(c, i));
  const RegisterWords words{pieces};
  float a = 0.0f;
#pragma unroll
  for (int b = 0; b < CHUNK_BLOCKS; b++) {
    const int block = chunk * CHUNK_BLOCKS + b;
    const uint4 first = stage.codes[2 * block], second = stage.codes[2 * block + 1];
    int low_sum = 0, high_sum = 0;
#pragma unroll
    for (int t = 0; t < 4; t++) {
      unsigned low, high;
      Op::fields(low, high, words, b, t);
      low_sum = __dp4a((int)low, (int)word_of(first, t), low_sum);
      high_sum = __dp4a((int)high, (int)word_of(second, t), high_sum);
      if (Op::OFFSET) {  // (q - offset) a = q a - offset a, in the pipe that does not take the codes apart
        low_sum = __dp4a((int)(0x01010101u * (256 - Op::OFFSET)), (int)word_of(first, t), low_sum);
        high_sum = __dp4a((int)(0x01010101u * (256 - Op::OFFSET)), (int)word_of(second, t), high_sum);
      }
    }
    const typename Op::Scale scale = Op::scale(header, c * CHUNK_BLOCKS + b);
    a = Op::step(a, scale, Op::dot(scale, low_sum, high_sum), stage.scales[block], Op::MINIMA ? stage.sums[block] : 0.0f);
  }
  return a;
}

// The ring of a warp, at most MOST steps deep, and its walk over the steps to ask for: items by grid stride, in each the
// columns of one strip ascending, every `stride`-th step. Work: what a block works on, as in products.cuh. OTHERS: copies of
// a lane that are no weights. WARPS: of a block, 0 if only the launch knows.
template <class Work, int WARPS = MATVEC_WARPS, int MOST = 3, int OTHERS = 0> struct Ring {
  using First = Step<typename Work::First>;
  using Last = Step<typename Work::Last>;
  static constexpr int BYTES = First::BYTES > Last::BYTES ? First::BYTES : Last::BYTES;
  static constexpr int LEAST = First::DEPTH < Last::DEPTH ? First::DEPTH : Last::DEPTH, DEPTH = LEAST < MOST ? LEAST : MOST;
  static constexpr int COPIES = First::COPIES > Last::COPIES ? First::COPIES : Last::COPIES;
  AsyncCopies<DEPTH * COPIES + OTHERS> copies;
  unsigned char* slots;
  const unsigned char* from;
  int item, step, half;

  static __device__ __forceinline__ int warps() { return WARPS ? WARPS : blockDim.x / 32; }
  // Steps of an item that the warps take at a time; there are 1, 2 or 4 strips.
  static __device__ __forceinline__ int stride(const Work& work) {
    return WARPS ? WARPS / work.strips : warps() >> work.strips / 2;
  }
  __device__ __forceinline__ unsigned char* slot(int i) const { return slots + i * BYTES; }

  // To the first step of this warp in an item, if there is such an item.
  __device__ __forceinline__ void enter(const Work& work, int next, int cols) {
    const int warp = threadIdx.x / 32;
    item = next;
    step = warp / work.strips;
    if (item >= work.items) return;
    const Strip strip = work.strip(item, warp % work.strips);
    half = strip.half;
    if (work.is_last(item)) from = first_step<typename Work::Last>(strip, cols) + step * moved<typename Work::Last>();
    else from = first_step<typename Work::First>(strip, cols) + step * moved<typename Work::First>();
  }
  template <class Op> static __device__ __forceinline__ int moved() { return Step<Op>::TILES * Op::TILE_BYTES; }

  template <class Op> __device__ __forceinline__ void copy(int i, int stride, int cols) {
    copy_step<Op>(copies, slot(i), from, half, cols / Op::COLS - step * Step<Op>::TILES);
    from += stride * moved<Op>();
  }
  __device__ __forceinline__ void ask(const Work& work, int i, int steps, int cols) {
    const int stride = Ring::stride(work);
    if (item < work.items && step < steps) {
      if (work.is_last(item)) copy<typename Work::Last>(i, stride, cols);
      else copy<typename Work::First>(i, stride, cols);
      step += stride;
      if (step >= steps) enter(work, item + gridDim.x, cols);
    }
    copies.commit();
  }
};

// [strip][chunk][row], `stride` chunks a strip.
struct StripSums {
  const float* sums;
  int stride;
  static constexpr int CHUNK_PITCH = STRIP_ROWS, AT_ONCE = 32;
  __device__ __forceinline__ const float* strip(int i) const { return sums + i * stride * STRIP_ROWS; }
};

// Every item of `work`: its strips (1, 2 or 4) for its activation row. All threads take part and execute pdl_wait.
// shared: the rings, then a MatvecStage of `span` columns, a multiple of as many steps as there are warps or all columns.
// ahead: the launches behind may start while the one in front still runs, which must leave them places: they ask for weights
// there. WARPS: as for a ring.
template <int WARPS = MATVEC_WARPS, class Work>
__device__ __forceinline__ void matvec(unsigned char* shared, const Work& work, const Activations& x, int span,
                                       bool ahead = false) {
  using R = Ring<Work, WARPS>;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, strip = warp % work.strips;
  const int chunks = x.cols / CHUNK, steps = (chunks + STEP_CHUNKS - 1) / STEP_CHUNKS, span_steps = span / STEP_COLS;
  MatvecStage stage(shared + R::warps() * R::DEPTH * R::BYTES, span, Work::First::MINIMA);
  R ring;
  ring.slots = shared + warp * R::DEPTH * R::BYTES;
  ring.enter(work, blockIdx.x, x.cols);
  for (int i = 0; i < R::DEPTH; i++) ring.ask(work, i, steps, x.cols);
  if (ahead) pdl_launch_dependents();
  pdl_wait();
  if (!ahead) pdl_launch_dependents();  // not before: launches further behind would take the places of those that have work
  int slot = 0, folder = 0, staged_row = -1, staged_first = 0;
  for (int item = blockIdx.x; item < work.items; item += gridDim.x) {
    typename Work::Total total = {};
    const int row = work.band(item);
    if (warp == folder) work.begin(item, row, total);
    for (int first = 0; first < steps; first += span_steps) {
      const int length = min(span_steps, steps - first), stride = STEP_CHUNKS * length + 1;
      const int ends = min(STEP_CHUNKS * length, chunks - STEP_CHUNKS * first);  // chunks of the span
      if (row != staged_row || first != staged_first) {
        x.template fill<Work::First::MINIMA>(stage, row, STEP_CHUNKS * first * CHUNK_BLOCKS, ends * CHUNK_BLOCKS,
                                             32 * R::warps());
        staged_row = row;
        staged_first = first;
      }
      __syncthreads();  // the activations are there, and the sums of the span before used up
      for (int step = warp / work.strips; step < length; step += R::stride(work)) {
        const int chunk = step * STEP_CHUNKS + lane / STRIP_ROWS;
        ring.copies.template wait_all_but<R::DEPTH - 1>();
        __syncwarp();
        if (chunk < ends)
          stage.partial[(strip * stride + chunk) * STRIP_ROWS + lane % STRIP_ROWS] =
              work.is_last(item) ? chunk_sum<typename Work::Last>(ring.slot(slot), stage, chunk)
                                 : chunk_sum<typename Work::First>(ring.slot(slot), stage, chunk);
        __syncwarp();  // all lanes are through with this slot
        ring.ask(work, slot, steps, x.cols);
        slot = slot + 1 == R::DEPTH ? 0 : slot + 1;
      }
      __syncthreads();
      if (warp == folder) work.fold(total, StripSums{stage.partial, stride}, ends);
    }
    if (warp == folder) work.finish(item, row, total);
    folder = folder + 1 == R::warps() ? 0 : folder + 1;
  }
}

// Folds the sums of chunks of two strips, or of one, into a total: lanes 0 .. 15 the first, the others the second. Several
// pairs side by side. AT_ONCE sums are on their way together: nothing else is done meanwhile.
template <int PAIRS, class Sums>
__device__ __forceinline__ void fold_strips(float (&totals)[PAIRS], const Sums& sums, int strips, int chunks) {
  const int lane = threadIdx.x % 32;
  if (lane >= strips * STRIP_ROWS) return;
  const float* sum[PAIRS];
#pragma unroll
  for (int p = 0; p < PAIRS; p++) sum[p] = sums.strip(2 * p + lane / STRIP_ROWS) + lane % STRIP_ROWS;
#pragma unroll Sums::AT_ONCE / PAIRS
  for (int chunk = 0; chunk < chunks; chunk++)
#pragma unroll
    for (int p = 0; p < PAIRS; p++) totals[p] = __fadd_rn(totals[p], sum[p][chunk * sums.CHUNK_PITCH]);
}
