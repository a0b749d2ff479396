// One fiber per CUDA thread: switching, and the stacks they run on. A thread that never waits uses its caller's stack
// again, so a block of n threads needs only as many stacks as threads wait at once.
#pragma once
#if !defined(__x86_64__) && !defined(__aarch64__)
#error "the host device knows x86-64 and AArch64: add a context switch for this machine"
#endif

extern "C" SIMT_LOCAL void simt_switch(void** save_stack_pointer, void* load_stack_pointer);
#if defined(__x86_64__)
asm(".text\n.hidden simt_switch\n.globl simt_switch\n.type simt_switch,@function\nsimt_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp,(%rdi)\nmovq %rsi,%rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\nret\n.size simt_switch,.-simt_switch\n");
#else
asm(".text\n.hidden simt_switch\n.globl simt_switch\n.type simt_switch,%function\nsimt_switch:\n"
    "sub sp,sp,#160\n"
    "stp x19,x20,[sp,#0]\nstp x21,x22,[sp,#16]\nstp x23,x24,[sp,#32]\nstp x25,x26,[sp,#48]\nstp x27,x28,[sp,#64]\n"
    "stp x29,x30,[sp,#80]\nstp d8,d9,[sp,#96]\nstp d10,d11,[sp,#112]\nstp d12,d13,[sp,#128]\nstp d14,d15,[sp,#144]\n"
    "mov x2,sp\nstr x2,[x0]\nmov sp,x1\n"
    "ldp x19,x20,[sp,#0]\nldp x21,x22,[sp,#16]\nldp x23,x24,[sp,#32]\nldp x25,x26,[sp,#48]\nldp x27,x28,[sp,#64]\n"
    "ldp x29,x30,[sp,#80]\nldp d8,d9,[sp,#96]\nldp d10,d11,[sp,#112]\nldp d12,d13,[sp,#128]\nldp d14,d15,[sp,#144]\n"
    "add sp,sp,#160\nret\n");
#endif

namespace simt {

static void fiber_main();

static void* fresh_stack(int i) {
  // Tops spread over the page: equal offsets would put the hot lines of all stacks into the same cache sets.
  char* top = rt.stacks + (size_t)(i + 1) * STACK_BYTES - (size_t)(i * 576 % 4096);
  uint64_t* sp = (uint64_t*)((uintptr_t)top & ~(uintptr_t)15);
#if defined(__x86_64__)
  *--sp = 0;
  *--sp = (uint64_t)(void (*)())fiber_main;
  for (int k = 0; k < 6; k++) *--sp = 0;
#else
  sp -= 20;
  memset(sp, 0, 160);
  sp[11] = (uint64_t)(void (*)())fiber_main;
#endif
  return sp;
}

static bool prepare_stacks(int wanted) {
  if (!rt.stacks) {
    void* map = mmap(nullptr, 1024 * STACK_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return false;
    rt.stacks = (char*)map;
  }
  if (rt.free_count != rt.stack_count || rt.stack_count < wanted) {  // more are needed, or a failure left some in use
    for (int i = rt.stack_count; i < wanted; i++)                    // the lowest page of each stays inaccessible
      if (mprotect(rt.stacks + i * STACK_BYTES + PAGE, STACK_BYTES - PAGE, PROT_READ | PROT_WRITE)) return false;
    if (rt.stack_count < wanted) rt.stack_count = wanted;
    rt.free_count = 0;
    for (int i = rt.stack_count - 1; i >= 0; i--) {
      rt.stack_pointer[i] = fresh_stack(i);
      rt.free_stack[rt.free_count++] = i;
    }
  }
  return true;
}

[[noreturn]] static void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int n = vsnprintf(rt.error, sizeof rt.error - 64, format, arguments);
  va_end(arguments);
  const int used = n < (int)sizeof rt.error - 64 ? n : (int)sizeof rt.error - 65;
  snprintf(rt.error + used, sizeof rt.error - used, " [block %u, thread %u]", rt.block.id, thread_number());
  rt.failed = true;
  void* abandoned;
  simt_switch(&abandoned, rt.main_stack_pointer);
  __builtin_unreachable();
}

}  // namespace simt
