#include "base/runtime.h"

#include <cstdlib>  // says which C library this is

#include "absl/synchronization/mutex.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace slimfill {

void SetUpRuntime() {
#if defined(__GLIBC__)
  constexpr int kMmapFromBytes = 32 << 20;  // the most that the library chooses by itself; it keeps twice as much
  mallopt(M_MMAP_THRESHOLD, kMmapFromBytes);
  mallopt(M_TRIM_THRESHOLD, 2 * kMmapFromBytes);
#endif
#if defined(NDEBUG)
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
}

}  // namespace slimfill
