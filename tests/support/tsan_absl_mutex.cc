// Debian's abseil is built without ThreadSanitizer, which therefore does not see that absl::Mutex and absl::CondVar
// order anything and takes every access they guard for a race. In tsan builds these definitions stand before the shared
// library's: they call them and tell the sanitizer what has been ordered. Nothing else is built with this file.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/base/config.h"
#include "absl/synchronization/mutex.h"

namespace {

#define SLIMFILL_TEXT_INNER(x) #x
#define SLIMFILL_TEXT(x) SLIMFILL_TEXT_INNER(x)

// The library's own definition of a member; `name` is the rest of its mangled name after the namespace.
void* LibraryDefinition(const char* name) {
  const char* inline_namespace = SLIMFILL_TEXT(ABSL_OPTION_INLINE_NAMESPACE_NAME);
  const std::string symbol = "_ZN4absl" + std::to_string(std::strlen(inline_namespace)) + inline_namespace + name;
  void* found = dlsym(RTLD_NEXT, symbol.c_str());
  if (found == nullptr) {
    std::fprintf(stderr, "tsan build: abseil has no %s as a shared library\n", symbol.c_str());
    std::abort();
  }
  return found;
}

// A condition is evaluated with the mutex held, by whichever thread is about to release it.
struct OrderedCondition {
  absl::Mutex* mutex;
  const absl::Condition* condition;
  static bool Eval(OrderedCondition* self) {
    __tsan_acquire(self->mutex);
    const bool result = self->condition->Eval();
    __tsan_release(self->mutex);
    return result;
  }
};

template <typename Result, typename... Args>
using Function = Result (*)(Args...);

}  // namespace

#define SLIMFILL_LIBRARY(name, ...) \
  static const auto library = reinterpret_cast<Function<__VA_ARGS__>>(LibraryDefinition(name))

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  SLIMFILL_LIBRARY("5Mutex4LockEv", void, Mutex*);
  library(this);
  __tsan_acquire(this);
}
void Mutex::Unlock() {
  SLIMFILL_LIBRARY("5Mutex6UnlockEv", void, Mutex*);
  __tsan_release(this);
  library(this);
}
bool Mutex::TryLock() {
  SLIMFILL_LIBRARY("5Mutex7TryLockEv", bool, Mutex*);
  const bool locked = library(this);
  if (locked) __tsan_acquire(this);
  return locked;
}
void Mutex::ReaderLock() {
  SLIMFILL_LIBRARY("5Mutex10ReaderLockEv", void, Mutex*);
  library(this);
  __tsan_acquire(this);
}
void Mutex::ReaderUnlock() {
  SLIMFILL_LIBRARY("5Mutex12ReaderUnlockEv", void, Mutex*);
  __tsan_release(this);
  library(this);
}
void Mutex::LockWhen(const Condition& condition) {
  SLIMFILL_LIBRARY("5Mutex8LockWhenERKNS0_9ConditionE", void, Mutex*, const Condition&);
  OrderedCondition ordered{this, &condition};
  library(this, Condition(&OrderedCondition::Eval, &ordered));
  __tsan_acquire(this);
}
void Mutex::Await(const Condition& condition) {
  SLIMFILL_LIBRARY("5Mutex5AwaitERKNS0_9ConditionE", void, Mutex*, const Condition&);
  OrderedCondition ordered{this, &condition};
  __tsan_release(this);
  library(this, Condition(&OrderedCondition::Eval, &ordered));
  __tsan_acquire(this);
}
bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  SLIMFILL_LIBRARY("5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE", bool, Mutex*, const Condition&,
                   Duration);
  OrderedCondition ordered{this, &condition};
  __tsan_release(this);
  const bool result = library(this, Condition(&OrderedCondition::Eval, &ordered), timeout);
  __tsan_acquire(this);
  return result;
}
bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  SLIMFILL_LIBRARY("5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE", bool, Mutex*, const Condition&, Time);
  OrderedCondition ordered{this, &condition};
  __tsan_release(this);
  const bool result = library(this, Condition(&OrderedCondition::Eval, &ordered), deadline);
  __tsan_acquire(this);
  return result;
}
void CondVar::Wait(Mutex* mutex) {
  SLIMFILL_LIBRARY("7CondVar4WaitEPNS0_5MutexE", void, CondVar*, Mutex*);
  __tsan_release(mutex);
  library(this, mutex);
  __tsan_acquire(mutex);
}
bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  SLIMFILL_LIBRARY("7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE", bool, CondVar*, Mutex*, Duration);
  __tsan_release(mutex);
  const bool result = library(this, mutex, timeout);
  __tsan_acquire(mutex);
  return result;
}
bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  SLIMFILL_LIBRARY("7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE", bool, CondVar*, Mutex*, Time);
  __tsan_release(mutex);
  const bool result = library(this, mutex, deadline);
  __tsan_acquire(mutex);
  return result;
}

ABSL_NAMESPACE_END
}  // namespace absl
