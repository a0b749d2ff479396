// Causal attention of grouped query heads over the key and value cache; two ways with the same bits.
// Formula:  NUMERICS 10
// Grid:     attention_split: one item per key head, split of 256 keys and tile of 4 or 8 queries, 288 threads; then
//           attention_combine: one item per head of a row, a thread per value of a head. attention_prefill: one item
//           per key head and tile of 64 queries, 128 threads, which takes all splits. A query is one head of one row.
//           attention_combine_quantize is attention_combine, then quantize (NUMERICS 5).
// Order:    s_j over d, l and o_d over j, splits: all ascending, each chain in one thread.
// Rounding: as in the formula.
// Traffic:  visible keys and values once per tile of queries, q once or twice per tile and split; attention_prefill
//           writes and reads out once per split, attention_split writes head_dim + 2 floats per query and split, which
//           attention_combine reads.
#include "attention_combine.cuh"
#include "attention_prefill.cuh"
#include "attention_split.cuh"

// o: (rows, heads, splits, head_dim), m, l: (rows, heads, splits): only of splits with a visible key. q: (rows, heads,
// head_dim); keys, values: (kv_heads, context, head_dim); position: (1,), that of row 0.
extern "C" __global__ void __launch_bounds__(288)
attention_split_f32(float* o, float* m, float* l, const float* q, const float* keys, const float* values,
                    const int* position, int rows, int heads, int kv_heads, int head_dim, int context, float scale) {
  __shared__ SplitShared<8> shared;
  attend_splits<float>(shared, Partials{o, m, l}, q, keys, values, position,
                       Step{rows, heads, kv_heads, head_dim, context}, scale);
}
extern "C" __global__ void __launch_bounds__(288)
attention_split_f16(float* o, float* m, float* l, const float* q, const unsigned short* keys,
                    const unsigned short* values, const int* position, int rows, int heads, int kv_heads, int head_dim,
                    int context, float scale) {
  __shared__ SplitShared<8> shared;
  attend_splits<unsigned short>(shared, Partials{o, m, l}, q, keys, values, position,
                                Step{rows, heads, kv_heads, head_dim, context}, scale);
}

// out: (rows, heads, head_dim); o, m, l as attention_split leaves them. The block has a thread per value of a head.
extern "C" __global__ void __launch_bounds__(256)
attention_combine(float* out, const float* o, const float* m, const float* l, const int* position, int rows, int heads,
                  int head_dim, int context) {
  __shared__ CombineShared shared;
  combine(shared, o, m, l, position, rows * heads, heads, head_dim, context, [&](int item, float value) {
    const int t = (int)threadIdx.x;
    if (t < head_dim) out[(long long)item * head_dim + t] = value;
  });
}

// codes: (rows, padded), scales, sums: (rows, padded / 32), what lies past the heads becomes zero; the rest as above.
// head_dim is a multiple of 32 and the number of threads.
extern "C" __global__ void __launch_bounds__(256)
attention_combine_quantize(signed char* codes, float* scales, float* sums, const float* o, const float* m, const float* l,
                           const int* position, int rows, int heads, int head_dim, int context, int padded) {
  __shared__ CombineShared shared;
  combine(shared, o, m, l, position, rows * heads, heads, head_dim, context, [&](int item, float value) {
    const int t = (int)threadIdx.x, head = item % heads;
    const long long row = item / heads;
    const auto put = [&](int col, const QuantizedValue& q) {
      codes[row * padded + col] = q.code;
      if (t % 32 == 0) {
        scales[row * (padded / 32) + col / 32] = q.scale;
        sums[row * (padded / 32) + col / 32] = q.sum;
      }
    };
    put(head * head_dim + t, quantize_value(value));
    if (head == heads - 1)
      for (int col = heads * head_dim + t; col < padded; col += head_dim) put(col, QuantizedValue{0, 0.0f, 0.0f});
  });
}

// out, q: (rows, heads, head_dim); at_once: multiprocessors, each of which starts one of so many blocks; the rest as
// above. _128, _256: the widest head.
extern "C" __global__ void __launch_bounds__(PREFILL_THREADS, 2)
attention_prefill_f32_128(float* out, const float* q, const float* keys, const float* values, const int* position,
                          int rows, int heads, int kv_heads, int head_dim, int context, float scale, int at_once) {
  DYN_SHARED(PrefillShared, shared);
  attend_tiles<float, 1>(*shared, out, q, keys, values, position,
                         Step{rows, heads, kv_heads, head_dim, context}, scale, at_once);
}
extern "C" __global__ void __launch_bounds__(PREFILL_THREADS, 2)
attention_prefill_f32_256(float* out, const float* q, const float* keys, const float* values, const int* position,
                          int rows, int heads, int kv_heads, int head_dim, int context, float scale, int at_once) {
  DYN_SHARED(PrefillShared, shared);
  attend_tiles<float, 2>(*shared, out, q, keys, values, position,
                         Step{rows, heads, kv_heads, head_dim, context}, scale, at_once);
}
extern "C" __global__ void __launch_bounds__(PREFILL_THREADS, LARGE_SHARED ? 3 : 2)
attention_prefill_f16_128(float* out, const float* q, const unsigned short* keys, const unsigned short* values,
                          const int* position, int rows, int heads, int kv_heads, int head_dim, int context,
                          float scale, int at_once) {
  DYN_SHARED(PrefillShared, shared);
  attend_tiles<unsigned short, 1>(*shared, out, q, keys, values, position,
                                  Step{rows, heads, kv_heads, head_dim, context}, scale, at_once);
}
extern "C" __global__ void __launch_bounds__(PREFILL_THREADS, 2)
attention_prefill_f16_256(float* out, const float* q, const unsigned short* keys, const unsigned short* values,
                          const int* position, int rows, int heads, int kv_heads, int head_dim, int context,
                          float scale, int at_once) {
  DYN_SHARED(PrefillShared, shared);
  attend_tiles<unsigned short, 2>(*shared, out, q, keys, values, position,
                                  Step{rows, heads, kv_heads, head_dim, context}, scale, at_once);
}
// Heads of 128 values, known when compiled.
extern "C" __global__ void __launch_bounds__(PREFILL_THREADS, LARGE_SHARED ? 3 : 2)
attention_prefill_f16_128_whole(float* out, const float* q, const unsigned short* keys, const unsigned short* values,
                                const int* position, int rows, int heads, int kv_heads, int /*head_dim*/, int context,
                                float scale, int at_once) {
  DYN_SHARED(PrefillShared, shared);
  attend_tiles<unsigned short, 1>(*shared, out, q, keys, values, position, Step{rows, heads, kv_heads, 128, context},
                                  scale, at_once);
}
