// Hands a chosen token on to the next step, in device memory.
// Formula:  token = next_token; tokens_out[count] = next_token; count += 1; position += 1
// Grid:     one item, one thread.
// Order:    none.
// Rounding: none, integers only.
// Traffic:  a few words.
#include "portable.cuh"

// token: its first element; position, count, next_token: (1,); tokens_out: (capacity,), left as it is when full.
extern "C" __global__ void advance(int* token, int* position, int* tokens_out, int* count, const int* next_token,
                                   int capacity) {
  pdl_launch_dependents();
  pdl_wait();
  for (int item = (int)(blockIdx.x * blockDim.x + threadIdx.x); item < 1; item += (int)(gridDim.x * blockDim.x)) {
    const int filled = count[0];
    token[0] = next_token[0];
    if (filled < capacity) tokens_out[filled] = next_token[0];
    count[0] = filled + 1;
    position[0] += 1;
  }
}
