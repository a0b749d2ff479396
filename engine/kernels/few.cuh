// few: a few activation rows by quantised weights, each weight read once. One of the three skeletons of matmul.cuh.
//
// Items, strips, steps and rings are those of matvec.cuh, but a band is eight activation rows, or those that are left, and a
// block has as many warps as the launcher finds room for: all that a multiprocessor runs, or half of them. A round is the same
// number of steps of every warp, its turns; between two rounds stands one barrier. While the warps make the sums of chunks of
// a round, the activations of the next one come, and before that a warp for each row folds its sums of the round before.
#pragma once
#include "few_chunks.cuh"

static constexpr int FEW_THREADS = 512;  // of a block, at most
static constexpr int FEW_DEPTH = 2;      // of a ring
static constexpr int FEW_COPIES = 200;   // of a lane: as much as shared memory holds, by a warp for each row

__device__ __forceinline__ int few_bands(int rows) { return (rows + FEW_ROWS - 1) / FEW_ROWS; }

// [chunk][row][strip][output] of a row: the sums of chunks that a warp folds.
struct RowSums {
  const float* sums;
  static constexpr int AT_ONCE = 8;
  int CHUNK_PITCH;
  __device__ __forceinline__ const float* strip(int i) const { return sums + i * STRIP_ROWS; }
};

// One block's rounds, item by item.
template <class Work> struct FewRounds {
  using R = Ring<Work, 0, FEW_DEPTH, FEW_COPIES>;
  static constexpr int FIRST = 32 * sizeof(RowScales<typename Work::First>), LAST = 32 * sizeof(RowScales<typename Work::Last>);
  static constexpr int ROOM = FIRST > LAST ? FIRST : LAST;  // bytes of the scales of a step
  const Work& work;
  const Activations& x;
  const int turns, apart;              // steps of a warp in a round; of all warps in a turn
  const int chunks, length, count;     // of a row; of a round; rounds of an item
  const int span;                      // rounds whose activations are held; 0: of this one alone
  const bool whole;                    // then they come once
  FewStage stage;
  FewLane lane;
  R ring;
  unsigned char* room;  // of this warp, for the scales of a step
  int slot = 0;         // of the ring
  typename Work::Total total = {};

  __device__ __forceinline__ FewRounds(unsigned char* shared, const Work& work, const Activations& x, int columns, int turns)
      : work(work),
        x(x),
        turns(turns),
        apart(R::stride(work)),
        chunks(x.cols / CHUNK),
        length(turns * apart * STEP_CHUNKS),
        count((chunks + length - 1) / length),
        span(columns / (length * CHUNK)),
        whole(span >= count && x.rows <= FEW_ROWS),
        stage(shared + R::warps() * (R::DEPTH * R::BYTES + ROOM), max(span, 1) * length * CHUNK, min(FEW_ROWS, x.rows),
              work.strips, Work::First::MINIMA),
        lane(lane_of(stage)) {
    ring.slots = shared + threadIdx.x / 32 * (R::DEPTH * R::BYTES + ROOM);
    room = ring.slot(R::DEPTH);
  }
  // Narrow bands hold the codes of two chunks. Not every compiler has registers for that where halves have scales.
  static constexpr bool NARROWS = LARGE_SHARED || !(Work::First::HALVES || Work::Last::HALVES);
  static __device__ __forceinline__ FewLane lane_of(const FewStage& stage) {
    return FewLane(stage, NARROWS && stage.rows <= NARROW_ROWS);
  }
  __device__ __forceinline__ int steps() const { return (chunks + STEP_CHUNKS - 1) / STEP_CHUNKS; }
  __device__ __forceinline__ int chunks_of(int round) const { return min(length, chunks - round * length); }

  __device__ __forceinline__ int first_row(int item) const { return item < work.items ? work.band(item) * FEW_ROWS : x.rows; }

  // Asks for the activations of a round of the band that starts at `row`, if there are any, to lie at the place `slot`.
  __device__ __forceinline__ void ask(int row, int round, int slot) {
    if (row < x.rows)
      stage.template ask<Work::First::MINIMA>(ring.copies, x, row, round * length, slot * length, chunks_of(round));
  }
  __device__ __forceinline__ void begin(int item, int row) {
    const int rows = min(FEW_ROWS, x.rows - row);
    if (rows != stage.rows) {
      stage.rows = rows;
      lane = lane_of(stage);
    }
    total = {};
    if (threadIdx.x / 32 < stage.rows) work.begin(item, row + threadIdx.x / 32, total);
  }
  // The steps of this warp in a round.
  template <class Op> __device__ __forceinline__ void put(int round) {
    const int warp = threadIdx.x / 32, strip = warp & (work.strips - 1), first = round * turns * apart;
    for (int turn = 0, step = warp >> work.strips / 2; turn < turns; turn++, step += apart) {
      if (turn) {
        ring.copies.template wait_all_but<FEW_DEPTH - 1>();
        __syncwarp();
      }
      if (first + step < steps()) {
        put_step<Op, NARROWS>(ring.slot(slot), room, stage, lane, strip, step, chunks_of(round));
        __syncwarp();  // all lanes are through with this slot
        ring.ask(work, slot, steps(), x.cols);
        slot = slot + 1 == FEW_DEPTH ? 0 : slot + 1;
      } else {
        ring.copies.commit();  // so that a turn counts as much for every warp
      }
    }
  }
  // Of the round before the one that `stage` turns to next, which may be the first one of another item.
  __device__ __forceinline__ void fold(int item, int row, int round) {
    const int warp = threadIdx.x / 32;
    if (warp >= min(FEW_ROWS, x.rows - row)) return;
    work.fold(total, RowSums{stage.chunk_sums(0, warp), stage.most * stage.sums_pitch}, chunks_of(round));
    if (round == count - 1) work.finish(item, row + warp, total);
  }
};

// Every item of `work`: its strips (1, 2 or 4) for its band of rows. All threads take part and execute pdl_wait.
// shared: the rings, then a FewStage. columns: of the activations that it holds, all or those of two rounds; or 0: those of
// one round, and then the sums of one round only. turns: 1, or more where all activations are held.
template <class Work>
__device__ __forceinline__ void few(unsigned char* shared, const Work& work, const Activations& x, int columns, int turns) {
  FewRounds<Work> rounds(shared, work, x, columns, turns);
  auto& copies = rounds.ring.copies;
  rounds.ring.enter(work, blockIdx.x, x.cols);
  for (int i = 0; i < FEW_DEPTH; i++) rounds.ring.ask(work, i, rounds.steps(), x.cols);
  pdl_wait();
  pdl_launch_dependents();
  int row = rounds.first_row(blockIdx.x), next_row = row;  // of the item, and of the one that its last round asks for
  if (columns) rounds.ask(row, 0, 0);
  copies.commit();
  for (int round = 1; rounds.whole && round < rounds.count; round++) rounds.ask(row, round, round);
  copies.commit();
  int held = 0;                       // where the activations of a round lie
  int before = -1, before_row = row;  // the item of the round before
  for (int item = blockIdx.x; item < work.items; item += gridDim.x, row = next_row)
    for (int round = 0; round < rounds.count; round++) {
      const int now = held;
      const bool last = round == rounds.count - 1;
      held = held + 1 < rounds.span ? held + 1 : 0;
      copies.template wait_all_but<1>();
      __syncthreads();  // what was asked for is there, and the round before is over
      if (last) next_row = rounds.first_row(item + gridDim.x);
      if (!columns) rounds.ask(row, round, 0);
      else if (!rounds.whole) rounds.ask(last ? next_row : row, last ? 0 : round + 1, held);
      copies.commit();
      if (before >= 0) rounds.fold(before, before_row, round ? round - 1 : rounds.count - 1);
      if (!columns) {
        copies.wait();
        __syncthreads();
      }
      if (round == 0) rounds.begin(item, row);
      rounds.stage.turn(now * rounds.length, rounds.length, columns ? 2 : 1);
      if (work.is_last(item)) rounds.template put<typename Work::Last>(round);
      else rounds.template put<typename Work::First>(round);
      before = item, before_row = row;
    }
  __syncthreads();
  if (before >= 0) rounds.fold(before, before_row, rounds.count - 1);
}
