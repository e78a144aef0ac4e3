#include "tests/cusim/fiber.h"

#include <pthread.h>

#include <cstdint>
#include <utility>

// CUSIM_ASAN and CUSIM_TSAN say how the code that is emulated was compiled; this file itself is never instrumented.
#if defined(CUSIM_TSAN)
extern "C" {
void* __tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void* fiber);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void* __tsan_get_current_fiber();
void __tsan_acquire(void* token);
void __tsan_release(void* token);
}
#endif
#if defined(CUSIM_ASAN)
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, size_t bytes);
void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, size_t* bytes);
}
#endif

#if !defined(__x86_64__)
#error "the emulator switches stacks by x86-64 assembly: build with SLIMFILL_CUDA=OFF here"
#endif

// Saves the callee-saved registers and the stack pointer, and goes on where `to` was left.
extern "C" void CusimSwitchStack(void** save, void* to);
asm(R"(
.text
.globl CusimSwitchStack
.type CusimSwitchStack,@function
CusimSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size CusimSwitchStack,.-CusimSwitchStack
)");

namespace cusim {
namespace {

constexpr int kSavedRegisters = 6;

void SwitchStacks(Context& from, Context& to, [[maybe_unused]] bool ended) {
#if defined(CUSIM_TSAN)
  constexpr unsigned kNoSynchronization = 1;
  __tsan_switch_to_fiber(to.tsan_fiber, kNoSynchronization);
#endif
#if defined(CUSIM_ASAN)
  __sanitizer_start_switch_fiber(ended ? nullptr : &from.asan_fake_stack, to.stack_begin, to.stack_bytes);
#endif
  CusimSwitchStack(&from.stack_pointer, to.stack_pointer);
#if defined(CUSIM_ASAN)
  __sanitizer_finish_switch_fiber(from.asan_fake_stack, nullptr, nullptr);
#endif
}

}  // namespace

void PrepareFiber(Context& context, void* stack, size_t bytes, void (*entry)(), [[maybe_unused]] void* tsan_fiber) {
  context.stack_begin = stack;
  context.stack_bytes = bytes;
  context.asan_fake_stack = nullptr;
  // As if `entry` had been called: a return address slot keeps the stack aligned as the ABI asks for.
  auto* top = reinterpret_cast<uintptr_t*>(static_cast<char*>(stack) + bytes) - 2;
  top[0] = reinterpret_cast<uintptr_t>(entry);
  top[1] = 0;
  for (int i = 1; i <= kSavedRegisters; ++i) top[-i] = 0;
  context.stack_pointer = top - kSavedRegisters;
#if defined(CUSIM_TSAN)
  context.tsan_fiber = tsan_fiber != nullptr ? tsan_fiber : __tsan_create_fiber(0);
#endif
}

void FiberStarted() {
#if defined(CUSIM_ASAN)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

void DestroyFiber([[maybe_unused]] Context& context) {
#if defined(CUSIM_TSAN)
  __tsan_destroy_fiber(context.tsan_fiber);
  context.tsan_fiber = nullptr;
#endif
}

void DescribeThread(Context& context) {
  // Asked once: for the main thread the answer comes from /proc/self/maps.
  static thread_local const std::pair<const void*, size_t> stack = [] {
    pthread_attr_t attributes;
    void* begin = nullptr;
    size_t bytes = 0;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &begin, &bytes);
    pthread_attr_destroy(&attributes);
    return std::pair<const void*, size_t>(begin, bytes);
  }();
  context.stack_begin = stack.first;
  context.stack_bytes = stack.second;
#if defined(CUSIM_TSAN)
  context.tsan_fiber = __tsan_get_current_fiber();
#endif
}

void Switch(Context& from, Context& to) { SwitchStacks(from, to, false); }

void SwitchFromEnded(Context& from, Context& to) {
  SwitchStacks(from, to, true);
  __builtin_trap();
}

void Release([[maybe_unused]] void* token) {
#if defined(CUSIM_TSAN)
  __tsan_release(token);
#endif
}

void Acquire([[maybe_unused]] void* token) {
#if defined(CUSIM_TSAN)
  __tsan_acquire(token);
#endif
}

}  // namespace cusim
