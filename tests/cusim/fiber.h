// Stacks that take turns on one thread: lanes and streams. Known to the sanitizers; switching orders no memory.
#pragma once

#include <cstddef>

namespace cusim {

// A place to come back to: a fiber's, or the thread's that started it.
struct Context {
  void* stack_pointer = nullptr;
  const void* stack_begin = nullptr;
  size_t stack_bytes = 0;
  void* asan_fake_stack = nullptr;
  void* tsan_fiber = nullptr;
};

// Makes `context` start `entry` on the given stack at the first switch to it. `entry` must not return: it ends with
// SwitchFromEnded. `tsan_fiber`: one to use again, or null for a new one.
void PrepareFiber(Context& context, void* stack, size_t bytes, void (*entry)(), void* tsan_fiber = nullptr);
// The first thing that an entry does.
void FiberStarted();
void DestroyFiber(Context& context);
// Fills in the running thread's own stack and TSan fiber.
void DescribeThread(Context& context);

void Switch(Context& from, Context& to);
[[noreturn]] void SwitchFromEnded(Context& from, Context& to);

// Happens-before edges, as far as ThreadSanitizer looks; nothing otherwise.
void Release(void* token);
void Acquire(void* token);

}  // namespace cusim
