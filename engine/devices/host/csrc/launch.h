// Running a list of launches: blocks one after the other, several workers by ranges of blocks.
#pragma once
namespace simt {

static void start_block(uint32_t id) {
  Block& block = rt.block;
  block = {id, rt.threads, 0, 0, 0, 0, 0};
  block.stamp = block.first_stamp = next_stamp();
  rt.left = rt.threads;
  rt.context->block = {id, 0, 0};
  if (rt.options.poison) {  // NaN or -1: not a value to pass unnoticed
    memset(rt.context->dynamic_shared, 0xff, rt.node->dynamic_bytes);
    for (int64_t i = 0; i < rt.node->module->shared_count; i++)
      memset(rt.node->module->shared[i].start, 0xff, rt.node->module->shared[i].bytes);
  }
  for (uint32_t w = 0; w < rt.warps; w++) {
    Warp& warp = rt.warp[w];
    const uint32_t lanes = rt.threads - w * 32 < 32 ? rt.threads - w * 32 : 32;
    warp.ready = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
    warp.exited = ~warp.ready;
    warp.started = warp.pending = warp.at_barrier = warp.pdl_waited = warp.epoch = 0;
  }
  if (rt.options.check) check_block_start();
  rt.w = rt.options.order == REVERSE ? rt.warps - 1 : 0;
  uint32_t w = 0, l = 0;
  pick(w, l);
  enter(w, l, &rt.main_stack_pointer);
  if (rt.options.check) check_block_end();
}

static bool prepare(const Node* node) {
  if (!rt.dynamic_map) {
    void* map = mmap(nullptr, DYNAMIC_BYTES + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect((char*)map + DYNAMIC_BYTES, PAGE, PROT_NONE)) return false;
    rt.dynamic_map = (char*)map;
  }
  rt.node = node;
  rt.context = node->module->context;
  rt.context->block_dim = {node->block, 1, 1};
  rt.context->grid_dim = {node->grid, 1, 1};
  rt.context->thread = {0, 0, 0};
  rt.context->dynamic_shared = rt.dynamic_map + DYNAMIC_BYTES - ((node->dynamic_bytes + 15) & ~15u);
  rt.threads = node->block;
  rt.warps = (node->block + 31) / 32;
  rt.launch_stamp = next_stamp();
  return prepare_stacks((int)(rt.warps * 32));
}

// The blocks first .. end - 1 of one launch. False if it failed: the error text says how.
static bool run_blocks(const Node* node, uint32_t first, uint32_t end) {
  rt.failed = false;
  if (!prepare(node)) {
    snprintf(rt.error, sizeof rt.error, "no memory for the stacks of %u threads", node->block);
    return false;
  }
  if (rt.options.check) check_launch_start();
  const uint32_t n = end - first;
  uint32_t* order = nullptr;
  if (rt.options.order == RANDOM) {
    order = (uint32_t*)malloc(sizeof(uint32_t) * n);
    for (uint32_t i = 0; i < n; i++) order[i] = first + i;
    for (uint32_t i = n; i > 1; i--) {
      const uint32_t j = random_below(i), swap = order[i - 1];
      order[i - 1] = order[j];
      order[j] = swap;
    }
  }
  rt.running = true;
  for (uint32_t i = 0; i < n && !rt.failed; i++)
    start_block(order ? order[i] : rt.options.order == REVERSE ? end - 1 - i : first + i);
  rt.running = false;
  if (rt.options.check) check_launch_end();
  free(order);
  if (rt.failed) rt.free_count = -1;  // fibers were abandoned: all stacks are made anew
  return !rt.failed;
}

static inline Range guard_after(const char* start, uint64_t bytes) {
  char* const end = (char*)start + bytes;
  return {end, (ALIGNMENT - bytes % ALIGNMENT) % ALIGNMENT + ALIGNMENT};
}

static inline char guard_byte(const char* at) { return (char)(GUARD >> (8 * ((uintptr_t)at & 3))); }

static void write_guards(char* start, uint64_t bytes) {
  const Range guards[2] = {{start - ALIGNMENT, ALIGNMENT}, guard_after(start, bytes)};
  for (const Range& guard : guards)
    for (uint64_t i = 0; i < guard.bytes; i++) guard.start[i] = guard_byte(guard.start + i);
}

// The first guard byte of an allocation that was overwritten, or null. The guards are made good again.
static char* find_damage(char* start, uint64_t bytes) {
  static uint32_t sound[2 * ALIGNMENT / 4 + 1];
  if (!sound[0])
    for (uint32_t& word : sound) word = GUARD;
  const Range guards[2] = {{start - ALIGNMENT, ALIGNMENT}, guard_after(start, bytes)};
  char* damaged = nullptr;
  for (const Range& guard : guards) {
    if (!memcmp(guard.start, (const char*)sound + ((uintptr_t)guard.start & 3), guard.bytes)) continue;
    for (uint64_t i = 0; i < guard.bytes && !damaged; i++)
      if (guard.start[i] != guard_byte(guard.start + i)) damaged = guard.start + i;
  }
  if (damaged) write_guards(start, bytes);
  return damaged;
}

// False if this launch wrote into the guards of its own buffers: the error text then says so, unless it says more.
static bool guards_sound(const Node* node) {
  bool sound = true;
  for (uint32_t i = 0; i < node->buffer_count; i++) {
    const Argument& a = node->buffers[i];
    char* const at = find_damage(a.allocation_start, a.allocation_bytes);
    if (at && !rt.error[0]) snprintf(rt.error, sizeof rt.error, "wrote outside a buffer, at address #%p", (void*)at);
    sound = sound && !at;
  }
  return sound;
}

static bool run_share(const Node* node, int worker, int workers) {
  const uint32_t first = (uint32_t)((uint64_t)node->grid * worker / workers);
  const uint32_t end = (uint32_t)((uint64_t)node->grid * (worker + 1) / workers);
  return first == end || run_blocks(node, first, end);
}

// All workers meet after every launch. sync[0] counts arrivals, sync[1] is set by a worker that failed.
static bool meet(volatile uint32_t* sync, uint32_t arrivals) {
  __atomic_add_fetch(sync, 1, __ATOMIC_ACQ_REL);
  for (int spin = 0; __atomic_load_n(sync, __ATOMIC_ACQUIRE) < arrivals; spin++) {
    if (__atomic_load_n(sync + 1, __ATOMIC_ACQUIRE)) return false;
    if (spin > 200) sched_yield();
  }
  return true;
}

}  // namespace simt
