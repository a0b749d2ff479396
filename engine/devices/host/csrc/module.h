// Ends a generated translation unit: exports the kernels with their signatures, and in check mode receives every load
// and store (-fsanitize=thread is used for its instrumentation only; these callbacks stand in for its library).
#pragma once
#define SIMT_PLAIN __attribute__((no_sanitize("thread")))

namespace simt {
Context context;
Api api;

template <class T> constexpr char kind_of() {
  if constexpr (__is_class(T)) return 's';
  else return T(0.5) != T(0) ? 'f' : T(-1) < T(0) ? 'i' : 'u';
}
template <class T> struct Parameter {
  SIMT_PLAIN static void describe(char*& out) { out += sprintf(out, "%c%zu,", kind_of<T>(), sizeof(T)); }
};
template <class T> struct Parameter<T*> {
  SIMT_PLAIN static void describe(char*& out) { out += sprintf(out, "p%zu,", sizeof(T)); }
};
template <class T> struct Parameter<const T*> {
  SIMT_PLAIN static void describe(char*& out) { out += sprintf(out, "c%zu,", sizeof(T)); }
};
template <size_t... I> struct Indices {};
template <size_t N, size_t... I> struct MakeIndices : MakeIndices<N - 1, N - 1, I...> {};
template <size_t... I> struct MakeIndices<0, I...> { using type = Indices<I...>; };

template <class... A, size_t... I>
SIMT_PLAIN static inline void unpack_and_call(void (*kernel)(A...), void** values, Indices<I...>) {
  kernel(*static_cast<A*>(values[I])...);
}
template <class... A> SIMT_PLAIN static inline void call(void (*kernel)(A...), void** values) {
  unpack_and_call(kernel, values, typename MakeIndices<sizeof...(A)>::type{});
}
template <class... A> SIMT_PLAIN static inline void describe(void (*)(A...), char* out) {
  *out = 0;
  (Parameter<A>::describe(out), ...);
}
}  // namespace simt

extern "C" char __ehdr_start SIMT_LOCAL;
extern "C" char _end SIMT_LOCAL;

// SIMT_KERNELS(X) is the generated list X(first) X(second) ...
namespace simt {
#define SIMT_DEFINE(name)                                                        \
  SIMT_PLAIN static void thunk_##name(void** values) { call(::name, values); }   \
  static char signature_##name[512];
SIMT_KERNELS(SIMT_DEFINE)
#define SIMT_ROW(name) {#name, thunk_##name, signature_##name},
static const Kernel kernels[] = {SIMT_KERNELS(SIMT_ROW)};
static Module module = {&context, &api, &__ehdr_start, &_end, kernels, sizeof kernels / sizeof kernels[0], nullptr, 0};
}  // namespace simt

SIMT_EXPORT SIMT_PLAIN simt::Module* simt_module() {
#define SIMT_DESCRIBE(name) simt::describe(::name, simt::signature_##name);
  SIMT_KERNELS(SIMT_DESCRIBE)
  return &simt::module;
}

#ifdef SIMT_CHECK
#define SIMT_SEE(function, address, bytes, kind) \
  simt::api.function(address, (int)(bytes), simt::kind, __builtin_return_address(0))
#define SIMT_CALLBACKS(n)                                                                                     \
  extern "C" SIMT_LOCAL SIMT_PLAIN void __tsan_read##n(void* p) { SIMT_SEE(access, p, n, READ); }              \
  extern "C" SIMT_LOCAL SIMT_PLAIN void __tsan_write##n(void* p) { SIMT_SEE(access, p, n, WRITE); }            \
  extern "C" SIMT_LOCAL SIMT_PLAIN void __tsan_unaligned_read##n(void* p) {                                    \
    SIMT_SEE(unaligned_access, p, n, READ);                                                                   \
  }                                                                                                           \
  extern "C" SIMT_LOCAL SIMT_PLAIN void __tsan_unaligned_write##n(void* p) {                                   \
    SIMT_SEE(unaligned_access, p, n, WRITE);                                                                  \
  }                                                                                                           \
  extern "C" SIMT_LOCAL SIMT_PLAIN void __tsan_read_write##n(void* p) {                                        \
    SIMT_SEE(access, p, n, READ);                                                                             \
    SIMT_SEE(access, p, n, WRITE);                                                                            \
  }                                                                                                           \
  extern "C" SIMT_LOCAL SIMT_PLAIN void __tsan_unaligned_read_write##n(void* p) {                              \
    SIMT_SEE(unaligned_access, p, n, READ);                                                                   \
    SIMT_SEE(unaligned_access, p, n, WRITE);                                                                  \
  }
SIMT_CALLBACKS(1) SIMT_CALLBACKS(2) SIMT_CALLBACKS(4) SIMT_CALLBACKS(8) SIMT_CALLBACKS(16)
extern "C" SIMT_LOCAL SIMT_PLAIN void __tsan_read_range(void* p, size_t n) { SIMT_SEE(unaligned_access, p, n, READ); }
extern "C" SIMT_LOCAL SIMT_PLAIN void __tsan_write_range(void* p, size_t n) {
  SIMT_SEE(unaligned_access, p, n, WRITE);
}
// Whole structs: later compilers call the __tsan_ names, earlier ones the plain names. Kernels reach these, not libc's.
#define SIMT_COPY(name)                                                                      \
  extern "C" SIMT_LOCAL SIMT_PLAIN void* name(void* to, const void* from, size_t n) {        \
    return simt::api.copy(to, from, n, __builtin_return_address(0));                         \
  }
#define SIMT_SET(name)                                                                       \
  extern "C" SIMT_LOCAL SIMT_PLAIN void* name(void* to, int byte, size_t n) {                \
    return simt::api.set(to, byte, n, __builtin_return_address(0));                          \
  }
SIMT_COPY(__tsan_memcpy) SIMT_COPY(__tsan_memmove) SIMT_COPY(memcpy) SIMT_COPY(memmove)
SIMT_SET(__tsan_memset) SIMT_SET(memset)
extern "C" SIMT_LOCAL SIMT_PLAIN void __tsan_init() {}
extern "C" SIMT_LOCAL SIMT_PLAIN void __tsan_func_entry(void*) {}
extern "C" SIMT_LOCAL SIMT_PLAIN void __tsan_func_exit() {}
#endif
