// State of one runtime (one worker): the running block, its warps and lanes, stacks and counters.
#pragma once
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "abi.h"

namespace simt {

struct Lane {
  uint64_t value, result;
  void *fragments, *stack_pointer;
  uint32_t mask;
  int source, site, stack;
  Operation op;
};
struct Warp {
  uint32_t ready, started, exited, pending, at_barrier, pdl_waited;  // sets of lanes
  uint32_t epoch;                                        // __syncwarp of the full warp so far (the checker's order)
  Lane lane[32];
};
struct Block {
  uint32_t id, alive, waiting;
  int site, other_site;        // lines of the barrier that threads wait at; other_site when they differ
  uint32_t stamp, first_stamp; // a new one at every barrier (the checker's order)
};

static struct Runtime {
  Options options;
  const Node* node;
  Context* context;  // of the running module
  uint32_t threads, warps, left;
  uint32_t w, l;  // running warp and lane
  int stack;      // running stack
  void* main_stack_pointer;
  Block block;
  Warp warp[32];
  // stacks
  char* stacks;
  int stack_count, free_count;
  int free_stack[1024];
  void* stack_pointer[1024];
  char* dynamic_map;  // dynamic shared memory, ends at a page that faults
  uint64_t random;
  bool running, failed;
  void *fault_address, *fault_pc;
  int fault_signal;
  uint32_t launch_stamp;
  char error[2048];
  Counters counters;
} rt;

static const size_t PAGE = 4096, STACK_BYTES = 32768, DYNAMIC_BYTES = 57 * PAGE;

static inline uint64_t next_random() {  // xorshift64
  uint64_t x = rt.random;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return rt.random = x;
}
static inline uint32_t random_below(uint32_t n) { return (uint32_t)((next_random() >> 33) % n); }
static inline uint32_t thread_number() { return rt.w * 32 + rt.l; }
static uint32_t next_stamp() {
  static uint32_t last = 0;
  return ++last;
}

[[noreturn]] static void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace simt
