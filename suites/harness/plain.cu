// Plain kernels of the ops that `zeroulp check-kernel` offers, a thread for each output, in the order of NUMERICS.md
// where its form is exact: that they pass shows that arguments, cases and oracle of an op fit each other.
#include "canon.cuh"

static const int CHUNK = 128, BLOCK = 32;

#define EACH(i, n)                                                                                 \
  for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < (long long)(n); \
       i += (long long)gridDim.x * blockDim.x)

extern "C" __global__ void rope(float* out, const float* x, const float* cos, const float* sin, int position, int rows,
                                int heads, int head_dim, int pairs, int positions) {
  EACH(i, (long long)rows * heads * head_dim) {
    const int d = (int)(i % head_dim), row = (int)(i / head_dim / heads), pair = d % pairs;
    const float c = cos[(position + row) * pairs + pair], s = sin[(position + row) * pairs + pair];
    out[i] = d < pairs       ? __fmaf_rn(x[i], c, -__fmul_rn(x[i + pairs], s))
             : d < 2 * pairs ? __fmaf_rn(x[i], c, __fmul_rn(x[i - pairs], s))
                             : x[i];
  }
}

extern "C" __global__ void quantize(signed char* codes, float* scales, float* sums, const float* x, int rows, int cols) {
  EACH(b, (long long)rows * (cols / BLOCK)) {
    int top = 0, total = 0;
    for (int i = 0; i < BLOCK; i++) top = max(top, (int)(__float_as_uint(x[b * BLOCK + i]) & 0x7fffffffu));
    scales[b] = __fdiv_rn(__int_as_float(top), 127.0f);
    for (int i = 0; i < BLOCK; i++) {
      const int code = divided_code(x[b * BLOCK + i], scales[b]);
      codes[b * BLOCK + i] = (signed char)code;
      total += code;
    }
    sums[b] = __fmul_rn(scales[b], __int2float_rn(total));
  }
}

extern "C" __global__ void matmul_f32(float* out, const float* x, const float* weight, int rows, int outputs, int cols) {
  EACH(i, (long long)rows * outputs) {
    const float *left = x + i / outputs * cols, *right = weight + i % outputs * cols;
    float y = 0.0f;
    for (int first = 0; first < cols; first += CHUNK) {
      float a = 0.0f;
      for (int k = first; k < min(first + CHUNK, cols); k++) a = __fmaf_rn(right[k], left[k], a);
      y = __fadd_rn(y, a);
    }
    out[i] = y;
  }
}

extern "C" __global__ void matmul_q8_0(float* out, const signed char* codes, const float* scales, const float* sums,
                                       const unsigned char* weight, int rows, int outputs, int cols) {
  const int blocks = cols / BLOCK;
  EACH(i, (long long)rows * outputs) {
    const long long row = i / outputs, from = i % outputs * blocks * 34;
    float y = 0.0f, a = 0.0f;
    for (int b = 0; b < blocks; b++) {
      const unsigned char* block = weight + from + b * 34;
      int dot = 0;
      for (int k = 0; k < BLOCK; k++) dot += codes[row * cols + b * BLOCK + k] * (int)(signed char)block[2 + k];
      const float d = half_to_float((unsigned short)(block[0] | block[1] << 8));
      a = __fmaf_rn(__fmul_rn(d, scales[row * blocks + b]), __int2float_rn(dot), a);
      if (b % 4 == 3 || b == blocks - 1) {
        y = __fadd_rn(y, a);
        a = 0.0f;
      }
    }
    out[i] = y;
  }
}

extern "C" __global__ void embedding_bf16(float* out, const int* tokens, const unsigned short* table, int rows, int vocab,
                                          int dim) {
  EACH(i, (long long)rows * dim) out[i] = bf16_to_float(table[(long long)tokens[i / dim] * dim + i % dim]);
}

extern "C" __global__ void embedding_q8_0(float* out, const int* tokens, const unsigned char* table, int rows, int vocab,
                                          int dim) {
  EACH(i, (long long)rows * dim) {
    const unsigned char* block = table + ((long long)tokens[i / dim] * (dim / BLOCK) + i % dim / BLOCK) * 34;
    const float d = half_to_float((unsigned short)(block[0] | block[1] << 8));
    out[i] = __fmul_rn(d, __int2float_rn((signed char)block[2 + i % BLOCK]));
  }
}

extern "C" __global__ void argmax(int* out, const float* logits, int rows, int vocab) {
  EACH(row, rows) {
    const float* values = logits + row * vocab;
    int best = 0;
    for (int i = 1; i < vocab && !is_nan(values[best]); i++)
      if (is_nan(values[i]) || values[i] > values[best]) best = i;
    out[row] = best;
  }
}

// Online softmax in one pass over the keys: not the order of NUMERICS 10, so it stands against the ideal form.
template <class Cell> __device__ float widen(Cell cell);
template <> __device__ float widen(float cell) { return cell; }
template <> __device__ float widen(unsigned short cell) { return half_to_float(cell); }

template <class Cell>
__device__ void attend(float* out, const float* q, const Cell* keys, const Cell* values, int position, int rows, int heads,
                       int kv_heads, int head_dim, int context, float scale) {
  EACH(i, (long long)rows * heads * head_dim) {
    const int d = (int)(i % head_dim), head = (int)(i / head_dim % heads), row = (int)(i / head_dim / heads);
    const long long cells = (long long)(head / (heads / kv_heads)) * context * head_dim;
    float top = __int_as_float(0xff800000), total = 0.0f, sum = 0.0f;
    for (int key = 0; key <= position + row; key++) {
      float score = 0.0f;
      for (int k = 0; k < head_dim; k++) score += q[i - d + k] * widen(keys[cells + (long long)key * head_dim + k]);
      score *= scale;
      const float higher = nan_max(top, score), kept = exp32(top - higher), p = exp32(score - higher);
      total = total * kept + p;
      sum = sum * kept + p * widen(values[cells + (long long)key * head_dim + d]);
      top = higher;
    }
    out[i] = sum / total;
  }
}

extern "C" __global__ void attention(float* out, const float* q, const float* keys, const float* values, int position,
                                     int rows, int heads, int kv_heads, int head_dim, int context, float scale) {
  attend(out, q, keys, values, position, rows, heads, kv_heads, head_dim, context, scale);
}

extern "C" __global__ void attention_f16(float* out, const float* q, const unsigned short* keys,
                                         const unsigned short* values, int position, int rows, int heads, int kv_heads,
                                         int head_dim, int context, float scale) {
  attend(out, q, keys, values, position, rows, heads, kv_heads, head_dim, context, scale);
}
