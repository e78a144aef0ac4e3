// Where lanes meet: barriers, shuffles, votes. Lanes of a warp meet by mask; all of a mask must call the same
// collective at the same line.
#pragma once

#include <type_traits>

#include "cusim/lane.h"

namespace cusim {

enum class BarrierKind { kPlain, kOr, kAnd, kCount };
enum class WarpOp { kSync, kShuffle, kVote, kMma, kLdmatrix };

// Returns the reduction of `predicate` over the block's live lanes.
int BlockBarrier(BarrierKind kind, int predicate, Site site);

// The lanes of `mask` meet; the last one runs `body(arguments by lane, mask)` for all.
using WarpBody = void (*)(void* const* arguments, unsigned mask);
void WarpCollective(WarpOp op, unsigned mask, WarpBody body, void* argument, Site site);

unsigned LiveMask();  // lanes of the running warp that have not returned

// The emulator moves values between lanes on their behalf; to ThreadSanitizer that is no access of theirs.
#if defined(__SANITIZE_THREAD__)
#define CUSIM_NOT_RACING __attribute__((no_sanitize("thread")))
#else
#define CUSIM_NOT_RACING
#endif

template <typename T>
struct Shuffled {
  T in, out;
  unsigned source;
};

template <typename T>
CUSIM_NOT_RACING void RunShuffle(void* const* arguments, unsigned mask) {
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) == 0) continue;
    auto* mine = static_cast<Shuffled<T>*>(arguments[lane]);
    if ((mask >> mine->source & 1) == 0)
      Fail("shuffle: lane %u reads lane %u, which does not take part", lane, mine->source);
    mine->out = static_cast<Shuffled<T>*>(arguments[mine->source])->in;
  }
}

template <typename T>
T Shuffle(unsigned mask, T value, unsigned source, Site site) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  Shuffled<T> argument{value, value, source};
  WarpCollective(WarpOp::kShuffle, mask, &RunShuffle<T>, &argument, site);
  return argument.out;
}

unsigned Ballot(unsigned mask, bool predicate, Site site);

// The first lane of the running lane's segment of `width` lanes.
inline unsigned SegmentBegin(int width) { return LaneIndex() & ~static_cast<unsigned>(width - 1); }

}  // namespace cusim

inline void __syncthreads(CUSIM_SITE) { ::cusim::BlockBarrier(::cusim::BarrierKind::kPlain, 0, site); }
inline int __syncthreads_or(int p, CUSIM_SITE) { return ::cusim::BlockBarrier(::cusim::BarrierKind::kOr, p, site); }
inline int __syncthreads_and(int p, CUSIM_SITE) { return ::cusim::BlockBarrier(::cusim::BarrierKind::kAnd, p, site); }
inline int __syncthreads_count(int p, CUSIM_SITE) {
  return ::cusim::BlockBarrier(::cusim::BarrierKind::kCount, p, site);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, CUSIM_SITE) {
  ::cusim::WarpCollective(::cusim::WarpOp::kSync, mask, nullptr, nullptr, site);
}
inline unsigned __activemask() { return ::cusim::LiveMask(); }

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUSIM_SITE) {
  const unsigned lane =
      ::cusim::SegmentBegin(width) | (static_cast<unsigned>(source) & static_cast<unsigned>(width - 1));
  return ::cusim::Shuffle(mask, value, lane, site);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CUSIM_SITE) {
  const unsigned self = ::cusim::LaneIndex(), other = self ^ static_cast<unsigned>(bits);
  const bool inside = other < ::cusim::SegmentBegin(width) + static_cast<unsigned>(width);
  return ::cusim::Shuffle(mask, value, inside ? other : self, site);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUSIM_SITE) {
  const unsigned self = ::cusim::LaneIndex(), other = self + delta;
  const bool inside = other < ::cusim::SegmentBegin(width) + static_cast<unsigned>(width);
  return ::cusim::Shuffle(mask, value, inside ? other : self, site);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUSIM_SITE) {
  const unsigned self = ::cusim::LaneIndex();
  const bool inside = self >= ::cusim::SegmentBegin(width) + delta;
  return ::cusim::Shuffle(mask, value, inside ? self - delta : self, site);
}
inline unsigned __ballot_sync(unsigned mask, int p, CUSIM_SITE) { return ::cusim::Ballot(mask, p != 0, site); }
inline int __any_sync(unsigned mask, int p, CUSIM_SITE) { return ::cusim::Ballot(mask, p != 0, site) != 0; }
inline int __all_sync(unsigned mask, int p, CUSIM_SITE) { return ::cusim::Ballot(mask, p != 0, site) == mask; }
