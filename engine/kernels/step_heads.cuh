// The heads that a step of one row brings: qk_norm and rope of queries and keys, kv_append (NUMERICS 4, 8 and 9).
#pragma once
#include "attention.cuh"
#include "turned_head.cuh"

static const int STEP_THREADS = 256;

// Sizes of a step of one row. `group`: query heads of a key head; `pairs`: of values that rope turns, in every head.
struct StepSizes {
  int heads, kv_heads, group, head_dim, context, pairs;
};

// What the products of the step left, and what turns it. q: (heads, head_dim), k, v: (kv_heads, head_dim), weights:
// (head_dim,), cos, sin: (context, pairs).
struct NewHeads {
  const float *q, *k, *v, *q_weight, *k_weight, *cos, *sin;
  float eps;
};
