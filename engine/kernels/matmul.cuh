// The three skeletons of a matmul with quantised weights (NUMERICS 6), of equal bits: matvec for one row, few for a few
// of them, gemm for many.
//
// An Op is a tile of weights.cuh; its step(a, scale, dot, D, S) is the float operations of one block of 32. The order is
// that of NUMERICS 6 in all: integer dot products, one chain per chunk of 128 columns from +0, chunks from the left.
// `outputs` is the number of weight rows, `rows` the number of activation rows, `cols` a multiple of 128.
#pragma once
#include "gemm.cuh"
