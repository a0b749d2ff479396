// Planted faults, one in each kernel, and beside each its sound twin (`..._sound`). y: 8 floats, x: 1024; 256 threads.
#include "portable.cuh"

#define PAIR(name)                                                                                              \
  extern "C" __global__ void name(float* y, const float* x, int n) { pdl_wait(); name##_body<false>(y, x, n); } \
  extern "C" __global__ void name##_sound(float* y, const float* x, int n) { pdl_wait(); name##_body<true>(y, x, n); }

// ---- barriers ----

// Sums of two rows; the barrier between the warps' partial sums and their reader is missing.
template <bool SOUND> __device__ void missing_barrier_body(float* y, const float* x, int n) {
  __shared__ float part[8];
  const int t = threadIdx.x;
  for (int row = 0; row < 2; row++) {
    const float sum = butterfly_sum(x[row * n + t]);
    if ((t & 31) == 0) part[t >> 5] = sum;
    if (SOUND) __syncthreads();
    float total = 0.0f;
    for (int w = 0; w < 8; w++) total = __fadd_rn(total, part[w]);
    if (t == 0) y[row] = total;
    __syncthreads();
  }
}
PAIR(missing_barrier)

// The same, but the next row overwrites what a slower warp still reads.
template <bool SOUND> __device__ void missing_loop_barrier_body(float* y, const float* x, int n) {
  __shared__ float part[8];
  const int t = threadIdx.x;
  for (int row = 0; row < 2; row++) {
    const float sum = butterfly_sum(x[row * n + t]);
    if ((t & 31) == 0) part[t >> 5] = sum;
    __syncthreads();
    float total = 0.0f;
    for (int w = 0; w < 8; w++) total = __fadd_rn(total, part[w]);
    if (t == 255) y[row] = total;
    if (SOUND) __syncthreads();
  }
}
PAIR(missing_loop_barrier)

// Right as long as lower threads run first.
template <bool SOUND> __device__ void lucky_barrier_body(float* y, const float* x, int n) {
  __shared__ float s[256];
  const int t = threadIdx.x;
  s[t] = x[t];
  if (SOUND) __syncthreads();
  const float before = t ? s[t - 1] : 0.0f;
  if (t >= n - 8) y[t - (n - 8)] = before;
}
PAIR(lucky_barrier)

// Relies on the lanes of a warp running in lockstep.
template <bool SOUND> __device__ void missing_syncwarp_body(float* y, const float* x, int) {
  __shared__ float s[256];
  const int t = threadIdx.x;
  s[t] = x[t];
  if (SOUND) __syncwarp();
  const float neighbour = s[t ^ 1];
  if (t < 8) y[t] = neighbour;
}
PAIR(missing_syncwarp)

// All lanes of a warp read what the last of them then overwrites.
template <bool SOUND> __device__ void missing_syncwarp_of_readers_body(float* y, const float* x, int) {
  __shared__ float s[8];
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  if (lane == 0) s[warp] = x[warp];
  __syncwarp();
  const float seen = s[warp];
  if (SOUND) __syncwarp();
  if (lane == 31) s[warp] = 0.0f;
  if (lane == 1) y[warp] = seen;
}
PAIR(missing_syncwarp_of_readers)

// The two halves of the block meet at different barriers.
template <bool SOUND> __device__ void divergent_barrier_body(float* y, const float* x, int n) {
  if (SOUND) {
    __syncthreads();
  } else if (threadIdx.x < 128) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  if (threadIdx.x < 8) y[threadIdx.x] = x[n + threadIdx.x];
}
PAIR(divergent_barrier)

// Half of each warp never arrives at the operation that its mask promises.
template <bool SOUND> __device__ void partial_shuffle_body(float* y, const float* x, int) {
  float v = x[threadIdx.x];
  if (SOUND || (threadIdx.x & 31) < 16) v = __shfl_xor_sync(0xffffffffu, v, 1);
  else __syncthreads();
  if (threadIdx.x < 8) y[threadIdx.x] = v;
}
PAIR(partial_shuffle)

template <bool SOUND> __device__ void shuffle_from_outside_body(float* y, const float* x, int) {
  float v = x[threadIdx.x];
  if ((threadIdx.x & 31) < 16) v = __shfl_xor_sync(0x0000ffffu, v, SOUND ? 8 : 16);
  if (threadIdx.x < 8) y[threadIdx.x] = v;
}
PAIR(shuffle_from_outside)

// ---- bounds ----

template <bool SOUND> __device__ void past_the_end_body(float* y, const float* x, int) {
  if (threadIdx.x < (SOUND ? 8 : 9)) y[threadIdx.x] = x[threadIdx.x];
}
PAIR(past_the_end)

// Lands in the middle of another buffer.
template <bool SOUND> __device__ void far_read_body(float* y, const float* x, int n) {
  if (threadIdx.x < 8) y[threadIdx.x] = x[threadIdx.x + (SOUND ? 3 : 8) * n];
}
PAIR(far_read)

template <bool SOUND> __device__ void shared_past_the_end_body(float* y, const float* x, int) {
  __shared__ float s[256];
  const int t = threadIdx.x;
  s[SOUND ? t : t + (t == 255)] = x[t];
  __syncthreads();
  if (t < 8) y[t] = s[t];
}
PAIR(shared_past_the_end)

template <bool SOUND> __device__ void dynamic_past_the_end_body(float* y, const float* x, int n) {
  DYN_SHARED(float, s);
  s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  if (threadIdx.x < 8) y[threadIdx.x] = s[(SOUND ? 0 : n) + threadIdx.x];
}
PAIR(dynamic_past_the_end)

template <bool SOUND> __device__ void null_pointer_body(float* y, const float* x, int n) {
  const float* from = SOUND || n != 256 ? x : nullptr;
  if (threadIdx.x < 8) y[threadIdx.x] = from[threadIdx.x];
}
PAIR(null_pointer)

template <bool SOUND> __device__ void deep_stack_body(float* y, const float* x, int n) {
  volatile float local[SOUND ? 256 : 1 << 14];
  for (int i = 0; i < (SOUND ? 256 : 1 << 14); i += 64) local[i] = x[i % n];
  if (threadIdx.x < 8) y[threadIdx.x] = local[0];
}
PAIR(deep_stack)

// ---- values that are not there ----

template <bool SOUND> __device__ void uninitialised_shared_body(float* y, const float* x, int) {
  __shared__ float s[256];
  if (SOUND || threadIdx.x) s[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  if (threadIdx.x < 8) y[threadIdx.x] = s[threadIdx.x];
}
PAIR(uninitialised_shared)

template <bool SOUND> __device__ void uninitialised_global_body(float* y, const float* x, int) {
  if (threadIdx.x >= 8) return;
  if (SOUND) y[threadIdx.x] = 0.0f;
  y[threadIdx.x] = y[threadIdx.x] < 0.0f ? x[0] : x[1];
}
PAIR(uninitialised_global)

// ---- races without a barrier to miss ----

template <bool SOUND> __device__ void lost_update_body(float* y, const float* x, int) {
  __shared__ int count;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  if (SOUND) atomicAdd(&count, 1);
  else count = count + 1;
  __syncthreads();
  if (threadIdx.x < 8) y[threadIdx.x] = __fadd_rn(__int2float_rn(count), __fmul_rn(0.0f, x[threadIdx.x]));
}
PAIR(lost_update)

// Two blocks, one word.
template <bool SOUND> __device__ void block_race_body(float* y, const float* x, int n) {
  if (threadIdx.x == 0) y[SOUND ? blockIdx.x : 0] = x[blockIdx.x * n];
}
PAIR(block_race)

template <bool SOUND> __device__ void same_value_write_body(float* y, const float*, int) {
  if (!SOUND || threadIdx.x < 8) y[threadIdx.x & 7] = 1.0f;
}
PAIR(same_value_write)

// A pointer to a local variable of another thread.
template <bool SOUND> __device__ void foreign_local_body(float* y, const float* x, int) {
  __shared__ float* theirs;
  __shared__ float ours;
  volatile float mine = x[threadIdx.x];
  if (threadIdx.x == 0) theirs = SOUND ? &ours : const_cast<float*>(&mine);
  if (threadIdx.x == 0) ours = x[0];
  __syncthreads();
  if (threadIdx.x < 8) y[threadIdx.x] = *theirs;
  __syncthreads();
}
PAIR(foreign_local)

// Rounded in the order in which the threads come.
template <bool SOUND> __device__ void float_atomics_body(float* y, const float* x, int) {
  if (threadIdx.x < 8) y[threadIdx.x] = 0.0f;
  __syncthreads();
  if (!SOUND) atomicAdd(y, __fmul_rn(x[threadIdx.x], 1e3f));
}
PAIR(float_atomics)

// ---- the rest ----

template <bool SOUND> __device__ void writes_const_body(float* y, const float* x, int) {
  if (threadIdx.x >= 8) return;
  if (!SOUND) const_cast<float*>(x)[threadIdx.x] = 0.0f;
  y[threadIdx.x] = 0.0f;
}
PAIR(writes_const)

template <bool SOUND> __device__ void misaligned_body(float* y, const float* x, int) {
  const long long v = *reinterpret_cast<const long long*>(x + (SOUND ? 2 : 1));
  if (threadIdx.x < 8) y[threadIdx.x] = __int_as_float((int)(v >> 32));
}
PAIR(misaligned)

template <bool SOUND> __device__ void misaligned_vector_body(float* y, const float* x, int) {
  const float4 v = *reinterpret_cast<const float4*>(x + (SOUND ? 4 : 1));
  if (threadIdx.x < 8) y[threadIdx.x] = v.x;
}
PAIR(misaligned_vector)

template <bool SOUND> __device__ void wide_shift_body(float* y, const float*, int n) {
  const int by = SOUND ? n - 250 : n - 220;
  if (threadIdx.x < 8) y[threadIdx.x] = __int2float_rn(1 << by);
}
PAIR(wide_shift)

// ---- overlap of launches ----

// Reads what the launch before it may still be writing: y itself, from an earlier launch of the same kernel.
extern "C" __global__ void reads_before_wait(float* y, const float* x, int) {
  const float before = y[threadIdx.x & 7];
  pdl_wait();
  if (threadIdx.x < 8) y[threadIdx.x] = __fadd_rn(before, x[threadIdx.x]);
}
extern "C" __global__ void reads_before_wait_sound(float* y, const float* x, int) {
  const float weight = x[threadIdx.x];
  pdl_wait();
  if (threadIdx.x < 8) y[threadIdx.x] = __fadd_rn(y[threadIdx.x], weight);
}
extern "C" __global__ void writes_before_wait(float* y, const float* x, int) {
  if (threadIdx.x < 8) y[threadIdx.x] = x[threadIdx.x];
  pdl_wait();
}
extern "C" __global__ void writes_before_wait_sound(float* y, const float* x, int) {
  pdl_wait();
  if (threadIdx.x < 8) y[threadIdx.x] = x[threadIdx.x];
}
extern "C" __global__ void asks_before_wait(float* y, const float* x, int) {
  __shared__ uint4 piece;
  AsyncCopies<1> copies;
  if (threadIdx.x == 0) copies.copy(&piece, reinterpret_cast<const uint4*>(x));
  pdl_wait();
  copies.wait();
  if (threadIdx.x == 0) y[0] = __uint_as_float(piece.x);
}
// Launches in between, which let the next one start before, or not before, all in front of them have ended.
extern "C" __global__ void lets_go_early(float* y, const float* x, int) {
  pdl_launch_dependents();
  pdl_wait();
  if (threadIdx.x < 8) y[threadIdx.x] = x[threadIdx.x];
}
extern "C" __global__ void lets_go_late(float* y, const float* x, int) {
  pdl_wait();
  pdl_launch_dependents();
  if (threadIdx.x < 8) y[threadIdx.x] = x[threadIdx.x];
}
// May end before the launch that it depends on, and the next one would start too early.
extern "C" __global__ void never_waits(float*, const float*, int) {}
// Threads that have nothing to do may leave without waiting.
extern "C" __global__ void never_waits_sound(float* y, const float* x, int) {
  if (threadIdx.x >= 8) return;
  pdl_wait();
  y[threadIdx.x] = x[threadIdx.x];
}
