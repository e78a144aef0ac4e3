#include "tests/cusim/lane_stacks.h"

#include <sys/mman.h>

#include "cusim/lane.h"

namespace cusim {
namespace {

// Sanitized code needs more; pages that are not touched cost nothing.
#if defined(CUSIM_ASAN) || defined(CUSIM_TSAN)
constexpr size_t kStackBytes = 256 << 10;
#else
constexpr size_t kStackBytes = 64 << 10;
#endif
constexpr size_t kGuardBytes = 4096;

char* Map(void* at, size_t bytes, int flags) {
  void* p = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
  if (p == MAP_FAILED) Fail("no memory for lanes' stacks");
  return static_cast<char*>(p);
}

}  // namespace

LaneStacks::~LaneStacks() {
  if (stacks_ != nullptr) munmap(stacks_, count_ * kStackBytes);
}

void LaneStacks::BeginBlock(unsigned lanes) {
  set_ = (set_ + 1) % kSets;
  if (count_ < lanes) {
    if (stacks_ != nullptr) munmap(stacks_, count_ * kStackBytes);
    stacks_ = Map(nullptr, lanes * kStackBytes, 0);
    count_ = lanes;
    for (unsigned i = 0; i < lanes; ++i) mprotect(stacks_ + i * kStackBytes, kGuardBytes, PROT_NONE);
    return;
  }
#if defined(CUSIM_TSAN)
  // Mapped anew, ThreadSanitizer forgets the last block's accesses to these stacks.
  Map(stacks_, count_ * kStackBytes, MAP_FIXED);
#endif
}

void LaneStacks::PrepareLane(unsigned index, Context& context, void (*entry)()) {
  std::vector<Context>& fibers = fibers_[set_];
  const bool known = index < fibers.size();
  PrepareFiber(context, stacks_ + index * kStackBytes, kStackBytes, entry, known ? fibers[index].tsan_fiber : nullptr);
  if (!known) fibers.push_back(context);
}

}  // namespace cusim
