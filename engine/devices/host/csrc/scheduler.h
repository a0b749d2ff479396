// Which thread runs next. Ready threads are a set of lanes per warp; a warp runs on until it can go no further.
#pragma once
namespace simt {

static inline void set_current(uint32_t w, uint32_t l) {
  rt.w = w;
  rt.l = l;
  rt.context->thread.x = w * 32 + l;
}

static inline uint32_t pick_lane(uint32_t set) {
  if (rt.options.order == IN_ORDER) return (uint32_t)__builtin_ctz(set);
  if (rt.options.order == REVERSE) return 31u - (uint32_t)__builtin_clz(set);
  for (uint32_t skip = random_below((uint32_t)__builtin_popcount(set)); skip; skip--) set &= set - 1;
  return (uint32_t)__builtin_ctz(set);
}

// Takes a ready thread out of its set; false if none is.
static inline bool pick(uint32_t& w, uint32_t& l) {
  uint32_t at = rt.options.order == RANDOM ? random_below(rt.warps) : rt.w;
  for (uint32_t i = 0; i < rt.warps; i++) {
    if (const uint32_t ready = rt.warp[at].ready) {
      w = at;
      l = pick_lane(ready);
      rt.warp[at].ready &= ~(1u << l);
      return true;
    }
    if (rt.options.order == REVERSE) at = at ? at - 1 : rt.warps - 1;
    else if (++at == rt.warps) at = 0;
  }
  return false;
}

[[noreturn]] static void fail_deadlock() {
  char text[1024];
  int n = 0;
  text[0] = 0;
  for (uint32_t w = 0; w < rt.warps && n < 900; w++) {
    const Warp& warp = rt.warp[w];
    if (warp.at_barrier)
      n += snprintf(text + n, sizeof text - n, " warp %u lanes %08x at __syncthreads line %d;", w, warp.at_barrier,
                    rt.block.site);
    if (warp.pending) {
      const Lane& lane = warp.lane[__builtin_ctz(warp.pending)];
      n += snprintf(text + n, sizeof text - n, " warp %u lanes %08x in a warp operation line %d mask %08x;", w,
                    warp.pending, lane.site, lane.mask);
    }
  }
  fail("deadlock, no thread can run:%s", text);
}

static void release_barrier() {
  Block& block = rt.block;
  if (block.other_site)
    fail("divergent __syncthreads: threads of one block are at lines %d and %d", block.site, block.other_site);
  for (uint32_t w = 0; w < rt.warps; w++) {
    rt.warp[w].ready |= rt.warp[w].at_barrier;
    rt.warp[w].at_barrier = 0;
  }
  block.waiting = 0;
  block.stamp = next_stamp();
  rt.counters.block_barriers++;
}

static void enter(uint32_t w, uint32_t l, void** save) {
  Warp& warp = rt.warp[w];
  set_current(w, l);
  rt.counters.switches++;
  if (warp.started >> l & 1) {
    rt.stack = warp.lane[l].stack;
    simt_switch(save, warp.lane[l].stack_pointer);
  } else {
    warp.started |= 1u << l;
    rt.stack = rt.free_stack[--rt.free_count];  // there are as many stacks as threads
    simt_switch(save, rt.stack_pointer[rt.stack]);
  }
}

static inline void reschedule() {
  uint32_t w, l;
  const uint32_t my_w = rt.w, my_l = rt.l;
  if (!pick(w, l)) fail_deadlock();
  if (w == my_w && l == my_l) return;
  Lane& me = rt.warp[my_w].lane[my_l];
  me.stack = rt.stack;
  enter(w, l, &me.stack_pointer);
}

static inline void wait_or_go_on() {  // my ready bit is set if the barrier or operation is complete
  Warp& warp = rt.warp[rt.w];
  const uint32_t me = 1u << rt.l;
  if ((warp.ready & me) && rt.options.order == IN_ORDER) warp.ready &= ~me;
  else reschedule();
}

static void yield_point() {
  if (rt.options.order != RANDOM) return;
  rt.warp[rt.w].ready |= 1u << rt.l;
  reschedule();
}

static void block_barrier(int site) {
  Block& block = rt.block;
  if (!block.waiting) {
    block.site = site;
    block.other_site = 0;
  } else if (block.site != site) {
    block.other_site = site;
  }
  rt.warp[rt.w].at_barrier |= 1u << rt.l;
  if (++block.waiting == block.alive) release_barrier();
  wait_or_go_on();
}

static uint64_t warp_operation(Operation op, uint32_t mask, uint64_t value, int source, void* fragments, int site) {
  Warp& warp = rt.warp[rt.w];
  Lane& me = warp.lane[rt.l];
  if (!(mask >> rt.l & 1)) fail("warp operation at line %d: lane %u is not in its own mask %08x", site, rt.l, mask);
  me.op = op;
  me.mask = mask;
  me.value = value;
  me.source = source;
  me.fragments = fragments;
  me.site = site;
  warp.pending |= 1u << rt.l;
  try_complete(warp, mask, site);
  wait_or_go_on();
  return me.result;
}

static void thread_exit() {
  Warp& warp = rt.warp[rt.w];
  warp.exited |= 1u << rt.l;
  rt.left--;
  rt.block.alive--;
  rt.counters.threads++;
  for (uint32_t set = warp.pending; set; set &= set - 1) {  // lanes that waited for this one only
    const Lane& lane = warp.lane[__builtin_ctz(set)];
    if (warp.pending & set & -set) try_complete(warp, lane.mask, lane.site);
  }
  if (rt.block.waiting && rt.block.waiting == rt.block.alive) release_barrier();
}

static void fiber_main() {
  for (;;) {
    rt.node->thunk(rt.node->values);
    thread_exit();
    const int stack = rt.stack;
    uint32_t w, l;
    if (!rt.left) {
      rt.free_stack[rt.free_count++] = stack;
      simt_switch(&rt.stack_pointer[stack], rt.main_stack_pointer);
      continue;
    }
    if (!pick(w, l)) fail_deadlock();
    if (!(rt.warp[w].started >> l & 1)) {  // the next thread starts on this stack, without a switch
      rt.warp[w].started |= 1u << l;
      set_current(w, l);
      continue;
    }
    rt.free_stack[rt.free_count++] = stack;
    enter(w, l, &rt.stack_pointer[stack]);
  }
}

}  // namespace simt
