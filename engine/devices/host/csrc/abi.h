// What a compiled kernel module, the runtime and engine/devices/host/native.py agree on. C headers only: neither side
// needs a C++ standard library. native.py mirrors the structs marked "mirrored".
#pragma once
#include <stddef.h>
#include <stdint.h>

#define SIMT_LOCAL __attribute__((visibility("hidden")))
#define SIMT_EXPORT extern "C" __attribute__((visibility("default")))

struct uint3 {
  unsigned x, y, z;
};

namespace simt {

// A warp operation: every lane of the mask deposits an operand, the last one to arrive computes all results.
enum Operation : int32_t { SYNC, SHUFFLE, BALLOT, BUTTERFLY_SUM, MMA_S8_K32, MMA_S8_K16 };

// The registers of one lane in an int8 tensor-core tile: D (4) = A (4 or 2) * B (2 or 1) + C (4).
struct Fragments {
  const unsigned *a, *b;
  const int* c;
  int* d;
};

enum AccessKind : int32_t { READ, WRITE, ATOMIC };

// Calls from a kernel into the runtime. `site` is the source line.
struct Api {
  void (*block_barrier)(int site);
  uint64_t (*warp_operation)(Operation op, uint32_t mask, uint64_t value, int source, void* fragments, int site);
  // Before an atomic: another thread may run here. Then what is at the address, and the exchange (returns what was).
  void (*atomic_begin)(const void* address, int bytes);
  uint64_t (*atomic_load)(const void* address, int bytes);
  uint64_t (*atomic_exchange)(void* address, uint64_t expected, uint64_t desired, int bytes);
  void (*pdl_wait)();  // check mode only, as the next three
  void (*pdl_launch_dependents)();
  void (*asked)(const void* address, int bytes);  // a copy that will be made later: see AsyncCopies
  void (*arrived)(const void* counter, bool last);  // a block at a counter
  void (*access)(const void* address, int bytes, AccessKind kind, const void* pc);
  void (*unaligned_access)(const void* address, int bytes, AccessKind kind, const void* pc);
  void* (*copy)(void* to, const void* from, size_t bytes, const void* pc);
  void* (*set)(void* to, int byte, size_t bytes, const void* pc);
};

// The built-in variables, kept in the kernel module; the runtime sets them on every switch.
struct Context {
  uint3 thread, block, block_dim, grid_dim;
  char* dynamic_shared;
};

struct Kernel {  // mirrored
  const char* name;
  void (*thunk)(void** arguments);
  const char* signature;  // per argument a letter and a size: p pointer, c pointer to const, f float, i int, u unsigned
};

struct Range {  // mirrored
  char* start;
  uint64_t bytes;
};

struct Module {  // mirrored
  Context* context;
  Api* api;
  char *image_start, *image_end;
  const Kernel* kernels;
  int64_t kernel_count;
  const Range* shared;  // static __shared__ variables, filled in by the loader
  int64_t shared_count;
};

// What one launch may touch: the bytes of one argument (a view), the allocation it lies in.
struct Argument {  // mirrored
  char* start;
  uint64_t bytes;
  char* allocation_start;
  uint64_t allocation_bytes;
  uint32_t allocation;
  int32_t writable;
};

struct Node {  // mirrored
  const Module* module;
  void (*thunk)(void** arguments);
  void** values;
  const Argument* buffers;
  uint32_t buffer_count, grid, block, dynamic_bytes;
};

// Device memory: every allocation starts at a multiple of ALIGNMENT and has guard words on both sides: ALIGNMENT bytes
// before it, and after it the rest of its last ALIGNMENT bytes and ALIGNMENT more. A guard word is a signalling NaN:
// read as a float it poisons the result, and no arithmetic result is equal to it, so a stray write always shows.
static const uint64_t ALIGNMENT = 512;
static const uint32_t GUARD = 0x7fa5a5a5;

enum Order : int32_t { IN_ORDER, REVERSE, RANDOM };

struct Options {  // mirrored
  uint64_t seed;
  int32_t order, poison, check, preempt;  // preempt: one access in so many yields (check and RANDOM only); 0 never
};

struct Counters {  // mirrored
  uint64_t threads, switches, block_barriers, warp_operations, loads, stores, load_bytes, store_bytes;
};

enum Fault : int32_t {
  OUT_OF_BOUNDS, UNINITIALISED, WRITE_AFTER_WRITE, WRITE_AFTER_READ, READ_AFTER_WRITE, CONST_WRITE, NOT_AN_ARGUMENT,
  OTHER_STACK, MISALIGNED, BEFORE_PDL_WAIT, NO_PDL_WAIT
};
enum Space : int32_t { GLOBAL, SHARED, DYNAMIC, STACK, ELSEWHERE };

struct Report {  // mirrored
  int32_t fault, space, bytes, count;
  uint64_t address, pc;
  uint32_t block, thread, other_block, other_thread;
};

}  // namespace simt
