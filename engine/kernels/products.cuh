// Up to three products of the same activations as the work of one matvec.
#pragma once
#include "matvec.cuh"

// y = x W^T (+ added). `added` may be null; its rows lie `stride` apart (0: one row for all). outputs 0: no product.
struct Product {
  float* y;
  const unsigned char* weight;
  const float* added;
  int outputs, stride;
};

// Products a and b have weights of type First, product c of Last. Items are (strips x 16 outputs of one, 1 row).
template <class First_, class Last_> struct Products {
  using First = First_;
  using Last = Last_;
  using Total = float;  // of an output in each lane
  Product a, b, c;
  int rows, strips;  // strips: 1 or 2
  int items_a, items_b, items;  // up to the end of a, of b, of c

  __device__ __forceinline__ Products(const Product& a, const Product& b, const Product& c, int rows, int strips)
      : a(a), b(b), c(c), rows(rows), strips(strips) {
    const int outputs = strips * STRIP_ROWS;
    items_a = (a.outputs + outputs - 1) / outputs * rows;
    items_b = items_a + (b.outputs + outputs - 1) / outputs * rows;
    items = items_b + (c.outputs + outputs - 1) / outputs * rows;
  }
  __device__ __forceinline__ bool is_last(int item) const { return item >= items_b; }
  __device__ __forceinline__ Product of(int item) const { return item < items_a ? a : item < items_b ? b : c; }
  __device__ __forceinline__ int within(int item) const {
    return item - (item < items_a ? 0 : item < items_b ? items_a : items_b);
  }
  __device__ __forceinline__ int row(int item) const { return within(item) % rows; }
  __device__ __forceinline__ Strip strip(int item, int s) const {
    const int strip = within(item) / rows * strips + s;
    return {of(item).weight, strip / 2, strip % 2};
  }
  __device__ __forceinline__ void fold(float& total, const float* partial, int chunks, int stride) const {
    fold_strips(total, partial, strips, chunks, stride);
  }
  __device__ __forceinline__ void finish(int item, float total) const {
    const Product p = of(item);
    const int lane = threadIdx.x % 32, output = within(item) / rows * strips * STRIP_ROWS + lane;
    const long long at = row(item);
    if (lane >= strips * STRIP_ROWS || output >= p.outputs) return;
    p.y[at * p.outputs + output] = p.added ? __fadd_rn(total, p.added[at * p.stride + output]) : total;
  }
};

// All of them on one block: `shared` is dynamic shared memory.
template <class First, class Last>
__device__ __forceinline__ void products(unsigned char* shared, const Activations& x, const Product& a, const Product& b,
                                         const Product& c, int strips, int span) {
  matvec(shared, Products<First, Last>(a, b, c, x.rows, strips), x, span);
}
