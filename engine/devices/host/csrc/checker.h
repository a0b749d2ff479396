// The access checker. Per byte of device memory and of shared memory: defined or not, last writer, last reader. Two
// accesses of different threads are ordered by a launch border, a __syncthreads of their block, or (within a warp) a
// full __syncwarp; shuffles order nothing. What a block did before it came to a counter (last_to_arrive; the barrier
// before it counts) is ordered before what the last one there does after its next barrier.
// Overlap of launches (programmatic dependent launch) does not happen here, but its rule is checked: before its pdl_wait
// a thread writes no device memory and reads, or asks for, none that a kernel wrote, unless it was settled since; and
// some thread of a launch waits (else it could end before the launch that it depends on). What an earlier launch wrote is
// settled by the host, or by a launch in between that lets the next one start only behind its own pdl_wait.
#pragma once
namespace simt {

struct Cell {
  uint32_t write_stamp, write_block, read_stamp, read_block;
  uint16_t write_thread, read_thread, write_epoch, read_epoch;
  uint8_t defined, atomic;
};
struct Permission {  // of one allocation in the running launch
  char *read_start, *read_end, *write_start, *write_end;
};
struct Arrival {  // of a block at a counter, in the running launch
  const void* counter;
  uint32_t block, stamp;
};
struct Acquired {  // by the running block, if it is the one that started at `by`: what another did before `until`
  uint32_t by, at, until;
};
static const uint32_t ALLOCATIONS = 1u << 20;
static const uint16_t MANY = 0xffff, LANES = 0x8000;  // in place of a reader: several; several of the warp whose number is added
static const int MAX_REPORTS = 64;

static struct Checker {
  char* arena;
  size_t arena_bytes;
  Cell *global, *shared, *dynamic;  // shared: all static variables one after the other
  size_t shared_cells;
  bool launch_waited;               // some thread of the running launch has executed pdl_wait
  bool block_waited, block_hurried; // the same of the block; it let the next launch start without its own pdl_wait
  bool launch_held;                 // some block waited before it let the next launch start
  uint32_t settled;                 // launches before this stamp had ended when the running one could start
  uint32_t* owner;                  // allocation by 512 bytes of the arena; 0 none
  Permission* permission;           // by allocation
  uint8_t* written;                 // by allocation: has a kernel written to it?
  Arrival* arrival;
  size_t arrivals, arrival_room;
  Acquired* acquired;               // by block
  size_t acquired_room;
  Report report[MAX_REPORTS];
  int reports;
} ck;

static void note(Fault fault, Space space, const char* p, int bytes, const void* pc, uint32_t other_block = 0,
                 uint32_t other_thread = 0) {
  for (int i = 0; i < ck.reports; i++)
    if (ck.report[i].fault == fault && ck.report[i].pc == (uint64_t)pc) {
      ck.report[i].count++;
      return;
    }
  if (ck.reports < MAX_REPORTS)
    ck.report[ck.reports++] = {fault, space, bytes, 1, (uint64_t)p, (uint64_t)pc, rt.block.id, thread_number(),
                               other_block, other_thread};
}

// Did another block hand over what it did at `stamp`, before the last barrier of the running one?
static inline bool handed_over(uint32_t block, uint32_t stamp) {
  const Acquired& from = ck.acquired[block];
  return from.by == rt.block.first_stamp && from.at != rt.block.stamp && stamp < from.until;
}

static inline bool in_warp(uint16_t thread, uint32_t warp) {
  return thread != MANY && (thread & LANES ? thread - LANES : thread / 32) == warp;
}

// Is an earlier access (of thread `thread` of `block`) ordered before the present one?
static inline bool ordered(uint32_t stamp, uint32_t block, uint16_t thread, uint16_t epoch) {
  if (stamp < rt.launch_stamp) return true;
  if (block != rt.block.id) return handed_over(block, stamp);
  if (stamp != rt.block.stamp) return true;
  const uint32_t me = thread_number();
  if (thread == me) return true;
  return in_warp(thread, me / 32) && epoch != (uint16_t)rt.warp[rt.w].epoch;
}

static inline void touch_byte(Cell& cell, const char* p, int bytes, AccessKind kind, const void* pc, Space space) {
  const bool both_atomic = kind == ATOMIC && cell.atomic;
  const uint16_t me = (uint16_t)thread_number(), epoch = (uint16_t)rt.warp[rt.w].epoch;
  const bool write_ordered = !cell.write_stamp || both_atomic ||
                             ordered(cell.write_stamp, cell.write_block, cell.write_thread, cell.write_epoch);
  if (kind != WRITE && !cell.defined) {
    note(UNINITIALISED, space, p, bytes, pc);
    cell.defined = 1;
  }
  if (!write_ordered)
    note(kind == READ ? READ_AFTER_WRITE : WRITE_AFTER_WRITE, space, p, bytes, pc, cell.write_block, cell.write_thread);
  if (kind == READ) {
    const bool same_epoch = cell.read_stamp == rt.block.stamp && cell.read_block == rt.block.id;
    const bool of_warp = in_warp(cell.read_thread, me / 32);
    const bool alone = !same_epoch || cell.read_thread == me || (of_warp && cell.read_epoch != epoch);
    cell.read_thread = alone ? me : of_warp ? LANES + me / 32 : MANY;
    cell.read_stamp = rt.block.stamp;
    cell.read_block = rt.block.id;
    cell.read_epoch = epoch;
    return;
  }
  if (cell.read_stamp && !both_atomic &&
      !ordered(cell.read_stamp, cell.read_block, cell.read_thread, cell.read_epoch))
    note(WRITE_AFTER_READ, space, p, bytes, pc, cell.read_block, cell.read_thread & LANES ? MANY : cell.read_thread);
  cell.write_stamp = rt.block.stamp;
  cell.write_block = rt.block.id;
  cell.write_thread = me;
  cell.write_epoch = epoch;
  cell.defined = 1;
  cell.atomic = kind == ATOMIC;
}

static inline void touch(Cell* cell, const char* p, int bytes, AccessKind kind, const void* pc, Space space) {
  (kind == READ ? rt.counters.loads : rt.counters.stores)++;
  for (int i = 0; i < bytes; i++) touch_byte(cell[i], p + i, bytes, kind, pc, space);
}

static inline bool waited() { return rt.warp[rt.w].pdl_waited >> rt.l & 1; }

// May the running thread read this before its pdl_wait?
static inline bool is_settled(const char* p, int bytes) {
  if (!ck.written[ck.owner[(p - ck.arena) / 512]]) return true;
  for (const Cell* cell = ck.global + (p - ck.arena); bytes; bytes--, cell++)
    if (cell->write_stamp && cell->write_stamp >= ck.settled) return false;
  return true;
}

static void access_global(const char* p, int bytes, AccessKind kind, const void* pc) {
  const uint32_t allocation = ck.owner[(p - ck.arena) / 512];
  (kind == READ ? rt.counters.load_bytes : rt.counters.store_bytes) += bytes;
  const Permission& allowed = ck.permission[allocation];
  if (!allowed.read_start && !allowed.write_start) return note(NOT_AN_ARGUMENT, GLOBAL, p, bytes, pc);
  const bool readable = p >= allowed.read_start && p + bytes <= allowed.read_end;
  const bool writable = p >= allowed.write_start && p + bytes <= allowed.write_end;
  if (!readable && !writable) return note(OUT_OF_BOUNDS, GLOBAL, p, bytes, pc);
  if (kind != READ && !writable) note(CONST_WRITE, GLOBAL, p, bytes, pc);
  ck.written[allocation] |= kind != READ;
  if (!waited() && (kind != READ || !is_settled(p, bytes))) note(BEFORE_PDL_WAIT, GLOBAL, p, bytes, pc);
  touch(ck.global + (p - ck.arena), p, bytes, kind, pc, GLOBAL);
}

static void access_module(const char* p, int bytes, AccessKind kind, const void* pc) {
  const Module& module = *rt.node->module;
  size_t before = 0;
  for (int64_t i = 0; i < module.shared_count; i++) {
    const Range& variable = module.shared[i];
    if (p >= variable.start && p < variable.start + variable.bytes) {
      if (p + bytes > variable.start + variable.bytes) return note(OUT_OF_BOUNDS, SHARED, p, bytes, pc);
      return touch(ck.shared + before + (p - variable.start), p, bytes, kind, pc, SHARED);
    }
    before += variable.bytes;
  }
  const char* context = (const char*)module.context;  // built-in variables are read like any other
  if (p >= context && p < context + sizeof(Context)) return;
  if (p >= (const char*)module.api && p < (const char*)(module.api + 1)) return;
  if (kind == READ && p >= module.image_start && p < module.image_end) return;  // constant tables
  note(OUT_OF_BOUNDS, ELSEWHERE, p, bytes, pc);
}

// The compiler knows that this access may not be aligned to its size, and made it so.
static void unaligned_access(const void* address, int bytes, AccessKind kind, const void* pc) {
  const char* p = (const char*)address;
  if (p >= rt.stacks && p < rt.stacks + 1024 * STACK_BYTES) {
    if ((p - rt.stacks) / (ptrdiff_t)STACK_BYTES != rt.stack) note(OTHER_STACK, STACK, p, bytes, pc);
    return;
  }
  char* dynamic = rt.context->dynamic_shared;
  if (p >= ck.arena && p < ck.arena + ck.arena_bytes) {
    access_global(p, bytes, kind, pc);
  } else if (p >= rt.dynamic_map && p < rt.dynamic_map + DYNAMIC_BYTES + PAGE) {
    if (p < dynamic || p + bytes > dynamic + rt.node->dynamic_bytes) note(OUT_OF_BOUNDS, DYNAMIC, p, bytes, pc);
    else touch(ck.dynamic + (p - dynamic), p, bytes, kind, pc, DYNAMIC);
  } else {
    access_module(p, bytes, kind, pc);
  }
  if (rt.options.preempt && rt.options.order == RANDOM && !random_below((uint32_t)rt.options.preempt)) yield_point();
}

static void access(const void* address, int bytes, AccessKind kind, const void* pc) {
  if (!rt.options.check) return;
  if ((uintptr_t)address & (bytes - 1)) note(MISALIGNED, ELSEWHERE, (const char*)address, bytes, pc);
  unaligned_access(address, bytes, kind, pc);
}

static void* copy(void* to, const void* from, size_t bytes, const void* pc) {
  unaligned_access(from, (int)bytes, READ, pc);
  unaligned_access(to, (int)bytes, WRITE, pc);
  return memmove(to, from, bytes);
}

static void* set(void* to, int byte, size_t bytes, const void* pc) {
  unaligned_access(to, (int)bytes, WRITE, pc);
  return memset(to, byte, bytes);
}

static void atomic_begin(const void* address, int bytes) {
  yield_point();
  access(address, bytes, ATOMIC, __builtin_return_address(0));
}

static uint64_t atomic_load(const void* address, int bytes) {
  return bytes == 4 ? __atomic_load_n((const uint32_t*)address, __ATOMIC_RELAXED)
                    : __atomic_load_n((const uint64_t*)address, __ATOMIC_RELAXED);
}

static uint64_t atomic_exchange(void* address, uint64_t expected, uint64_t desired, int bytes) {
  const int success = __ATOMIC_ACQ_REL, failure = __ATOMIC_ACQUIRE;  // last_to_arrive hands over what workers wrote
  if (bytes == 4) {
    uint32_t seen = (uint32_t)expected;
    __atomic_compare_exchange_n((uint32_t*)address, &seen, (uint32_t)desired, false, success, failure);
    return seen;
  }
  __atomic_compare_exchange_n((uint64_t*)address, &expected, desired, false, success, failure);
  return expected;
}

static void pdl_wait() {
  rt.warp[rt.w].pdl_waited |= 1u << rt.l;
  ck.launch_waited = ck.block_waited = true;
}

static void pdl_launch_dependents() {
  if (!waited()) ck.block_hurried = true;
}

// The copy itself is seen when it is made, as late as the wait for it.
static void asked(const void* address, int bytes) {
  const char* p = (const char*)address;
  if (!rt.options.check || waited() || p < ck.arena || p >= ck.arena + ck.arena_bytes) return;
  if (!is_settled(p, bytes)) note(BEFORE_PDL_WAIT, GLOBAL, p, bytes, __builtin_return_address(0));
}

static void arrived(const void* counter, bool last) {
  if (ck.arrivals == ck.arrival_room) {
    ck.arrival_room = 2 * ck.arrival_room + 64;
    ck.arrival = (Arrival*)realloc((void*)ck.arrival, sizeof(Arrival) * ck.arrival_room);
  }
  ck.arrival[ck.arrivals++] = {counter, rt.block.id, rt.block.stamp};
  if (!last) return;
  for (size_t i = 0; i < ck.arrivals; i++)
    if (ck.arrival[i].counter == counter)
      ck.acquired[ck.arrival[i].block] = {rt.block.first_stamp, rt.block.stamp, ck.arrival[i].stamp};
}

static void check_launch_end() {
  if (!ck.launch_waited && !rt.failed) note(NO_PDL_WAIT, ELSEWHERE, nullptr, 0, (const void*)rt.node->thunk);
  if (ck.launch_held) ck.settled = rt.launch_stamp;  // the next one starts when all blocks have let it
}

static void check_block_end() { ck.launch_held |= ck.block_waited && !ck.block_hurried; }

static void check_block_start() {
  ck.block_waited = ck.block_hurried = false;
  memset((void*)ck.dynamic, 0, sizeof(Cell) * rt.node->dynamic_bytes);
  memset((void*)ck.shared, 0, sizeof(Cell) * ck.shared_cells);
}

static void set_permissions(const Node* node, bool grant) {
  for (uint32_t i = 0; i < node->buffer_count; i++) {
    const Argument& a = node->buffers[i];
    Permission& p = ck.permission[a.allocation];
    if (!grant) {
      p = {};
      continue;
    }
    char*& start = a.writable ? p.write_start : p.read_start;
    char*& end = a.writable ? p.write_end : p.read_end;
    if (!start || a.start < start) start = a.start;  // two views of one allocation: what lies between is allowed too
    if (a.start + a.bytes > end) end = a.start + a.bytes;
  }
}

static void check_launch_start() {
  ck.launch_waited = false;
  ck.launch_held = false;
  ck.arrivals = 0;
  if (rt.node->grid > ck.acquired_room) {
    ck.acquired_room = rt.node->grid;
    ck.acquired = (Acquired*)realloc((void*)ck.acquired, sizeof(Acquired) * ck.acquired_room);
    memset((void*)ck.acquired, 0, sizeof(Acquired) * ck.acquired_room);
  }
  size_t cells = 1;
  for (int64_t i = 0; i < rt.node->module->shared_count; i++) cells += rt.node->module->shared[i].bytes;
  if (cells > ck.shared_cells) {
    ck.shared = (Cell*)realloc((void*)ck.shared, sizeof(Cell) * cells);
    ck.shared_cells = cells;
  }
}

// Memory that was reserved reads as zero again, and whole pages of it go back to the system.
static void clear(void* start, size_t bytes) {
  char *first = (char*)(((uintptr_t)start + PAGE - 1) & ~(PAGE - 1)), *end = (char*)start + bytes;
  char* last = (char*)((uintptr_t)end & ~(PAGE - 1));
  if (last <= first) {
    memset(start, 0, bytes);
    return;
  }
  memset(start, 0, first - (char*)start);
  memset(last, 0, end - last);
  madvise(first, last - first, MADV_DONTNEED);
}

template <class T> static T* reserve(size_t count) {
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* map = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, flags, -1, 0);
  return map == MAP_FAILED ? nullptr : (T*)map;
}

}  // namespace simt

// Device memory lies in arena .. arena + bytes. Returns 0, or 1 if the address space has no room for the shadow.
SIMT_EXPORT int simt_check_arena(char* arena, uint64_t bytes) {
  using namespace simt;
  ck.arena = arena;
  ck.arena_bytes = bytes;
  ck.global = reserve<Cell>(bytes);
  ck.owner = reserve<uint32_t>(bytes / 512);
  ck.permission = reserve<Permission>(ALLOCATIONS);
  ck.written = reserve<uint8_t>(ALLOCATIONS);
  ck.dynamic = reserve<Cell>(DYNAMIC_BYTES);
  return !(ck.global && ck.owner && ck.permission && ck.written && ck.dynamic);
}
// The bytes from `start` (a multiple of 512) belong to `allocation`, undefined from now on.
SIMT_EXPORT void simt_check_allocate(char* start, uint64_t bytes, uint32_t allocation) {
  using namespace simt;
  for (uint64_t i = 0; i < (bytes + 511) / 512; i++) ck.owner[(start - ck.arena) / 512 + i] = allocation;
  clear((void*)(ck.global + (start - ck.arena)), bytes * sizeof(Cell));
}
SIMT_EXPORT void simt_check_define(char* start, uint64_t bytes) {
  for (uint64_t i = 0; i < bytes; i++) simt::ck.global[start - simt::ck.arena + i].defined = 1;
}
// What kernels wrote to the allocation before is from now on as if the host had: no launch can overlap with theirs.
SIMT_EXPORT void simt_check_settle(uint32_t allocation) { simt::ck.written[allocation] = 0; }
SIMT_EXPORT int simt_check_reports(simt::Report* out, int capacity) {
  const int n = simt::ck.reports < capacity ? simt::ck.reports : capacity;
  memcpy(out, simt::ck.report, sizeof(simt::Report) * n);
  simt::ck.reports = 0;
  return n;
}
