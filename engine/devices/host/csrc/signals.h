// A fault inside a kernel becomes an error of the launch, not the end of the process.
#pragma once
namespace simt {

static char emergency_stack[16384] __attribute__((aligned(16)));
static char signal_stack[65536];

[[noreturn]] static void after_fault() {  // runs in place of the faulting thread, on a stack of its own
  if (rt.fault_signal == SIGILL)
    fail("undefined operation (array bound, alignment, shift or float-to-int range) at @%p", rt.fault_pc);
  const char* address = (const char*)rt.fault_address;
  if (address >= rt.stacks && address < rt.stacks + 1024 * STACK_BYTES)
    fail("a thread needs more than %zu bytes of stack, at @%p", STACK_BYTES - 2 * PAGE, rt.fault_pc);
  fail("access to address #%p, which is not mapped, at @%p", rt.fault_address, rt.fault_pc);
}

// Called in the signal handler; true if the fault belongs to this runtime and was dealt with.
static bool on_fault(int signal_number, siginfo_t* info, void* machine_context) {
  if (!rt.running) return false;
  rt.fault_address = info->si_addr;
  rt.fault_signal = signal_number;
  ucontext_t* machine = (ucontext_t*)machine_context;
  const uintptr_t top = (uintptr_t)(emergency_stack + sizeof emergency_stack) & ~(uintptr_t)15;
#if defined(__x86_64__)
  rt.fault_pc = (void*)machine->uc_mcontext.gregs[REG_RIP];
  machine->uc_mcontext.gregs[REG_RSP] = (greg_t)(top - 8);
  machine->uc_mcontext.gregs[REG_RIP] = (greg_t)(void (*)())after_fault;
#else
  rt.fault_pc = (void*)machine->uc_mcontext.pc;
  machine->uc_mcontext.sp = top;
  machine->uc_mcontext.pc = (uint64_t)(void (*)())after_fault;
#endif
  return true;
}

}  // namespace simt
