// The part of CUDA that kernels.cu uses, for a C++17 compiler without a GPU.
//
// Thread blocks run one after the other, in reverse order. The threads of a block are fibers: each
// runs to the next barrier before another one starts, in alternating order, so that a missing
// barrier changes the result. With HOST_CUDA_THREADS they are operating-system threads, which a
// sanitizer can check.
#pragma once
#include <cmath>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#ifdef HOST_CUDA_THREADS
#include <pthread.h>
#include <thread>
#else
#include <ucontext.h>
#endif

#define __global__
#define __device__ static
#define __shared__
#define __launch_bounds__(...)

struct Dim {
    unsigned x, y, z;
};
static thread_local Dim threadIdx, blockIdx, blockDim, gridDim;

static const unsigned SHARED_MEMORY = 48 * 1024;
alignas(16) unsigned long long memory[SHARED_MEMORY / 8];

static inline float __fmaf_rn(float a, float b, float c) { return std::fmaf(a, b, c); }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline long long __double2ll_rn(double a) { return std::llrint(a); }
static inline long long min(long long a, long long b) { return a < b ? a : b; }
static inline float __int_as_float(int a) {
    float b;
    std::memcpy(&b, &a, 4);
    return b;
}
static inline double __longlong_as_double(long long a) {
    double b;
    std::memcpy(&b, &a, 8);
    return b;
}
template <class T> static T atomicAdd(T *at, T value) {
    return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
}

namespace host {

typedef void Kernel(void **args);

#ifdef HOST_CUDA_THREADS
// Two barriers in turn. With a single one, a thread that wakes late would be synchronized with what
// the others did before they reached it again, and the sanitizer would miss races between them.
static pthread_barrier_t barriers[2];
static thread_local unsigned passed;

static bool run_block(unsigned, Kernel *kernel, void **args) {
    const Dim block = blockIdx, size = blockDim, grid = gridDim;
    std::thread threads[1024];
    for (auto &barrier : barriers) pthread_barrier_init(&barrier, nullptr, size.x);
    for (unsigned i = 0; i < size.x; i++)
        threads[i] = std::thread([=] {
            threadIdx = {i, 0, 0}, blockIdx = block, blockDim = size, gridDim = grid;
            kernel(args);
        });
    for (unsigned i = 0; i < size.x; i++) threads[i].join();
    for (auto &barrier : barriers) pthread_barrier_destroy(&barrier);
    return true;
}
#else
const int STACK = 64 * 1024;
alignas(16) static char stacks[1024][STACK];
static ucontext_t scheduler, fibers[1024];
static bool done[1024];
static unsigned current;
static Kernel *running;
static void **given;

static void start_fiber() {
    running(given);
    done[current] = true;
    swapcontext(&fibers[current], &scheduler);
}

static bool run_block(unsigned turn, Kernel *kernel, void **args) {
    const unsigned n = blockDim.x;
    running = kernel, given = args;
    for (unsigned i = 0; i < n; i++) {
        done[i] = false;
        getcontext(&fibers[i]);
        fibers[i].uc_stack.ss_sp = stacks[i];
        fibers[i].uc_stack.ss_size = STACK;
        fibers[i].uc_link = nullptr;
        makecontext(&fibers[i], start_fiber, 0);
    }
    for (unsigned finished = 0; finished < n; turn++) {
        for (unsigned i = 0; i < n; i++) {
            current = turn % 2 ? n - 1 - i : i;
            threadIdx = {current, 0, 0};
            swapcontext(&scheduler, &fibers[current]);
        }
        finished = 0;
        for (unsigned i = 0; i < n; i++) finished += done[i];
        if (finished != 0 && finished != n) return false;  // some threads wait for threads that have ended
    }
    return true;
}
#endif

// Return the error of a launch, or nullptr.
static const char *launch(unsigned grid, unsigned block, unsigned shared, Kernel *kernel,
                          void **args) {
    if (block < 1 || block > 1024 || grid < 1 || shared > SHARED_MEMORY) return "invalid launch";
    gridDim = {grid, 1, 1}, blockDim = {block, 1, 1};
    char *bytes = (char *)memory;
    for (unsigned i = grid; i-- > 0;) {
        blockIdx = {i, 0, 0};
        std::memset(bytes, 0xAB, SHARED_MEMORY);
        if (!run_block(i, kernel, args)) return "not all threads of a block reached the barrier";
        for (unsigned at = shared; at < SHARED_MEMORY; at++)
            if (bytes[at] != (char)0xAB) return "a kernel wrote beyond the shared memory that the launch requested";
    }
    return nullptr;
}

template <class... A, size_t... I>
void call(void (*kernel)(A...), void **args, std::index_sequence<I...>) {
    kernel(*(A *)args[I]...);
}
template <class... A> void call(void (*kernel)(A...), void **args) {
    call(kernel, args, std::index_sequence_for<A...>{});
}

// Return the name of a type in NumPy, such as "f4", with a star for a pointer.
template <class T> std::string type() {
    if constexpr (std::is_pointer_v<T>)
        return "*" + type<std::remove_cv_t<std::remove_pointer_t<T>>>();
    else
        return (std::is_floating_point_v<T> ? "f" : std::is_signed_v<T> ? "i" : "u") +
               std::to_string(sizeof(T));
}
template <class... A> std::string types(void (*)(A...)) { return ((type<A>() + " ") + ...); }

}  // namespace host

static inline void __syncthreads() {
#ifdef HOST_CUDA_THREADS
    pthread_barrier_wait(&host::barriers[host::passed++ % 2]);
#else
    swapcontext(&host::fibers[host::current], &host::scheduler);
#endif
}

#define HOST_KERNEL(name)                                                                          \
    static void call_##name(void **args) { host::call(name, args); }                               \
    extern "C" const char *launch_##name(unsigned grid, unsigned block, unsigned shared,           \
                                         void **args) {                                            \
        return host::launch(grid, block, shared, call_##name, args);                               \
    }                                                                                              \
    extern "C" const char *types_##name() {                                                        \
        static const std::string types = host::types(name);                                        \
        return types.c_str();                                                                      \
    }
