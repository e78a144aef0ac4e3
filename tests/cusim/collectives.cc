#include "cusim/collectives.h"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>

#include "tests/cusim/block.h"

namespace cusim {
namespace {

struct Vote {
  bool predicate;
  unsigned result;
};

void RunVote(void* const* arguments, unsigned mask) {
  unsigned result = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) != 0 && static_cast<Vote*>(arguments[lane])->predicate) result |= 1u << lane;
  }
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) != 0) static_cast<Vote*>(arguments[lane])->result = result;
  }
}

BlockRunner& Runner() {
  BlockRunner* runner = BlockRunner::Running();
  if (runner == nullptr) Fail("a device function was called outside a kernel");
  return *runner;
}

}  // namespace

int BlockBarrier(BarrierKind kind, int predicate, Site site) { return Runner().Barrier(kind, predicate, site); }

void WarpCollective(WarpOp op, unsigned mask, WarpBody body, void* argument, Site site) {
  Runner().MeetInWarp(op, mask, body, argument, site);
}

unsigned Ballot(unsigned mask, bool predicate, Site site) {
  Vote vote{predicate, 0};
  WarpCollective(WarpOp::kVote, mask, &RunVote, &vote, site);
  return vote.result;
}

unsigned LiveMask() { return Runner().live_mask(); }
unsigned LaneIndex() { return Runner().lane_index(); }
unsigned char* DynamicShared() { return Runner().shared().dynamic(); }
void* SharedArray(const void* key, size_t bytes) { return Runner().shared().Array(key, bytes); }

void Fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::fprintf(stderr, "cusim: ");
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  if (BlockRunner::Running() != nullptr) {
    std::fprintf(stderr, "\n  in block (%u,%u,%u), thread (%u,%u,%u)", blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x,
                 threadIdx.y, threadIdx.z);
  }
  std::fprintf(stderr, "\n");
  std::fflush(stderr);
  _exit(kExitCode);
}

}  // namespace cusim
