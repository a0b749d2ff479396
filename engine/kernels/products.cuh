// Up to three products of the same activations as the work of one launch of any skeleton.
#pragma once
#include "few.cuh"

// y = x W^T (+ added). `added` may be null; its rows lie `stride` apart (0: one row for all). outputs 0: no product.
struct Product {
  float* y;
  const unsigned char* weight;
  const float* added;
  int outputs, stride;
};

// Whether two types are one.
template <class A, class B> static constexpr bool SAME = false;
template <class A> static constexpr bool SAME<A, A> = true;

// Products a and b have weights of type First, product c of Last. Items are (strips x 16 outputs of one, 1 band of rows).
template <class First_, class Last_> struct Products {
  using First = First_;
  using Last = Last_;
  struct Total {  // of an output in each lane
    float sum[1], added;
  };
  Product a, b, c;
  int bands, strips;
  int items_a, items_b, items;  // up to the end of a, of b, of c

  __device__ __forceinline__ Products(const Product& a, const Product& b, const Product& c, int bands, int strips)
      : a(a), b(b), c(c), bands(bands), strips(strips) {
    const int outputs = strips * STRIP_ROWS;
    items_a = (a.outputs + outputs - 1) / outputs * bands;
    items_b = items_a + (b.outputs + outputs - 1) / outputs * bands;
    items = items_b + (c.outputs + outputs - 1) / outputs * bands;
  }
  // Of one type alone: never, so that there is one piece of code.
  __device__ __forceinline__ bool is_last(int item) const { return !SAME<First, Last> && item >= items_b; }
  __device__ __forceinline__ Product of(int item) const { return item < items_a ? a : item < items_b ? b : c; }
  __device__ __forceinline__ int within(int item) const {
    return item - (item < items_a ? 0 : item < items_b ? items_a : items_b);
  }
  __device__ __forceinline__ int band(int item) const { return band_of(within(item), bands); }
  __device__ __forceinline__ Strip strip(int item, int s) const {
    const int strip = unit_of(within(item), bands) * strips + s;
    return {of(item).weight, strip / 2, strip % 2};
  }
  __device__ __forceinline__ int output(int item) const {
    return unit_of(within(item), bands) * strips * STRIP_ROWS + threadIdx.x % 32;
  }
  __device__ __forceinline__ bool has(int item) const {
    return threadIdx.x % 32 < strips * STRIP_ROWS && output(item) < of(item).outputs;
  }
  // Long before its use: it comes from memory.
  __device__ __forceinline__ void begin(int item, int row, Total& total) const {
    const Product p = of(item);
    if (p.added && has(item)) total.added = p.added[(long long)row * p.stride + output(item)];
  }
  template <class Sums> __device__ __forceinline__ void fold(Total& total, const Sums& sums, int chunks) const {
    fold_strips(total.sum, sums, strips, chunks);
  }
  __device__ __forceinline__ void finish(int item, int row, const Total& total) const {
    const Product p = of(item);
    if (has(item))
      p.y[(long long)row * p.outputs + output(item)] = p.added ? __fadd_rn(total.sum[0], total.added) : total.sum[0];
  }
};

// All of them on one block: `shared` is dynamic shared memory.
template <class First, class Last>
__device__ __forceinline__ void products(unsigned char* shared, const Activations& x, const Product& a, const Product& b,
                                         const Product& c, int strips, int span,
                                         bool ahead = false) {
  matvec(shared, Products<First, Last>(a, b, c, x.rows, strips), x, span, ahead);
}
template <class First, class Last>
__device__ __forceinline__ void few_products(unsigned char* shared, const Activations& x, const Product& a, const Product& b,
                                             const Product& c, int strips, int span, int turns) {
  few(shared, Products<First, Last>(a, b, c, few_bands(x.rows), strips), x, span, turns);
}
