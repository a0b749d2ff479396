// Signal handlers of the process, shared by all runtimes: loaded once, while every worker has its own runtime.
// Handlers are installed while at least one runtime runs, and what was there before is restored afterwards.
#include <pthread.h>
#include <signal.h>

#include "abi.h"

namespace {

using Hook = bool (*)(int, siginfo_t*, void*);
struct Slot {
  pthread_t owner;
  Hook hook;  // null: free
};
const int SLOTS = 256, SIGNALS[3] = {SIGSEGV, SIGBUS, SIGILL};
Slot slots[SLOTS];
struct sigaction before[3];
int active;
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void pass_on(int which, siginfo_t* info, void* machine_context) {
  const struct sigaction& old = before[which];
  if (old.sa_flags & SA_SIGINFO) {
    old.sa_sigaction(SIGNALS[which], info, machine_context);
  } else if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN) {
    old.sa_handler(SIGNALS[which]);
  } else {
    signal(SIGNALS[which], SIG_DFL);
    raise(SIGNALS[which]);
  }
}

void handle(int number, siginfo_t* info, void* machine_context) {
  for (int i = 0; i < SLOTS; i++)
    if (slots[i].hook && pthread_equal(slots[i].owner, pthread_self()) && slots[i].hook(number, info, machine_context))
      return;
  pass_on(number == SIGSEGV ? 0 : number == SIGBUS ? 1 : 2, info, machine_context);
}

}  // namespace

// The calling thread is about to run kernels. Returns a slot for simt_faults_leave, -1 if none is free.
SIMT_EXPORT int simt_faults_enter(Hook hook) {
  pthread_mutex_lock(&mutex);
  int slot = -1;
  for (int i = 0; i < SLOTS && slot < 0; i++)
    if (!slots[i].hook) slot = i;
  if (slot >= 0) {
    slots[slot] = {pthread_self(), hook};
    if (!active++) {
      struct sigaction action {};
      action.sa_sigaction = handle;
      action.sa_flags = SA_SIGINFO | SA_ONSTACK;
      for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &action, &before[i]);
    }
  }
  pthread_mutex_unlock(&mutex);
  return slot;
}

SIMT_EXPORT void simt_faults_leave(int slot) {
  pthread_mutex_lock(&mutex);
  slots[slot].hook = nullptr;
  if (!--active)
    for (int i = 0; i < 3; i++) sigaction(SIGNALS[i], &before[i], nullptr);
  pthread_mutex_unlock(&mutex);
}
