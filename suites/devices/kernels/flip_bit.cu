// Changes the lowest bit of one value in the step that holds a position: the fault that `zeroulp diverge` has to find.
#include "portable.cuh"

// values: (rows, width); position: (1,), that of row 0
extern "C" __global__ void flip_bit(unsigned* values, const int* position, int wanted, int rows, int width, int element) {
  pdl_launch_dependents();
  pdl_wait();
  const int row = wanted - position[0];
  if (blockIdx.x == 0 && threadIdx.x == 0 && row >= 0 && row < rows) values[row * width + element] ^= 1u;
}
