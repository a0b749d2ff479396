// The runtime of one worker. engine/devices/host/native.py calls what is exported here.
#include "state.h"
#include "stacks.h"
#include "warp.h"
#include "scheduler.h"
#include "checker.h"
#include "launch.h"
#include "signals.h"

using FaultHook = bool (*)(int, siginfo_t*, void*);
static int (*faults_enter)(FaultHook);
static void (*faults_leave)(int);

SIMT_EXPORT void simt_runtime_start(int (*enter)(FaultHook), void (*leave)(int)) {
  faults_enter = enter;
  faults_leave = leave;
}

SIMT_EXPORT void simt_runtime_stop() {
  using namespace simt;
  if (rt.stacks) munmap(rt.stacks, 1024 * STACK_BYTES);
  if (rt.dynamic_map) munmap(rt.dynamic_map, DYNAMIC_BYTES + PAGE);
  if (ck.global) {
    munmap((void*)ck.global, ck.arena_bytes * sizeof(Cell));
    munmap(ck.owner, ck.arena_bytes / 512 * sizeof(uint32_t));
    munmap(ck.permission, ALLOCATIONS * sizeof(Permission));
    munmap(ck.written, ALLOCATIONS);
    munmap((void*)ck.dynamic, DYNAMIC_BYTES * sizeof(Cell));
    free((void*)ck.shared);
    free(ck.arrival);
    free(ck.acquired);
  }
}

// `shared` stays with the caller and must outlive the module.
SIMT_EXPORT void simt_attach(simt::Module* module, const simt::Range* shared, int64_t count) {
  *module->api = {simt::block_barrier, simt::warp_operation,  simt::atomic_begin,
                  simt::atomic_load,   simt::atomic_exchange, simt::pdl_wait,
                  simt::pdl_launch_dependents,                simt::asked,
                  simt::arrived,       simt::access,          simt::unaligned_access,
                  simt::copy,          simt::set};
  module->shared = shared;
  module->shared_count = count;
}

SIMT_EXPORT const char* simt_error() { return simt::rt.error; }

SIMT_EXPORT void simt_counters(simt::Counters* out) { *out = simt::rt.counters; }

// Runs `count` launches, this worker's share of the blocks of each. Returns 0, or the number (from 1) of the launch
// that failed: simt_error() says how, or, if it is empty, simt_check_reports(). -1: another worker failed.
SIMT_EXPORT int simt_run(const simt::Node* nodes, int count, const simt::Options* options, int worker, int workers,
                         volatile uint32_t* sync) {
  using namespace simt;
  rt.options = *options;
  rt.random = (options->seed + (uint64_t)worker * 0x632be59bd9b4e019ull) * 0x9e3779b97f4a7c15ull + 0x1234567;
  rt.error[0] = 0;
  const int slot = faults_enter(on_fault);
  if (slot < 0) {
    snprintf(rt.error, sizeof rt.error, "too many host devices run kernels at once");
    if (workers > 1) __atomic_store_n(sync + 1, 1, __ATOMIC_RELEASE);
    return 1;
  }
  stack_t own{}, before;
  own.ss_sp = signal_stack;
  own.ss_size = sizeof signal_stack;
  sigaltstack(&own, &before);
  int result = 0;
  for (int i = 0; i < count && !result; i++) {
    if (options->check) set_permissions(&nodes[i], true);
    const bool ran = run_share(&nodes[i], worker, workers);
    if (options->check) set_permissions(&nodes[i], false);
    if (!ran || ck.reports) result = i + 1;
    if (workers > 1) {
      if (result) __atomic_store_n(sync + 1, 1, __ATOMIC_RELEASE);
      else if (!meet(sync, (uint32_t)(i + 1) * workers)) result = -1;
    }
    if (worker == 0 && !guards_sound(&nodes[i]) && !result) {
      result = i + 1;
      if (workers > 1) __atomic_store_n(sync + 1, 1, __ATOMIC_RELEASE);
    }
  }
  sigaltstack(&before, nullptr);
  faults_leave(slot);
  return result;
}

// The first damaged guard byte of `count` allocations, or null.
SIMT_EXPORT char* simt_find_damage(const simt::Range* allocations, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    if (char* at = simt::find_damage(allocations[i].start, allocations[i].bytes)) return at;
  return nullptr;
}

SIMT_EXPORT void simt_write_guards(char* start, uint64_t bytes) { simt::write_guards(start, bytes); }
