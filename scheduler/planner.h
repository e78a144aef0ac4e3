// Chooses the next work unit: pure functions of a state, without clock, lock or engine.
//
// One unit runs at a time. After every prefill chunk all decoding sequences get one batched step, so the gap between
// two tokens is at most a chunk and a step. Among prompts the order is
//   1. priority, strictly;
//   2. within a priority the least remaining work first, in classes of powers of two, equal classes by arrival: a short
//      prompt overtakes a long one, even one already begun;
//   3. but the first in line (by priority, then arrival) gets at least every fifth chunk, so that no stream of short
//      prompts starves a long one.
// A request that does not fit for want of pages lets smaller ones pass for a bounded number of chunks; then nothing
// below it starts until it has.
#pragma once

#include <cstdint>
#include <vector>

namespace slimfill::scheduler {

inline constexpr int kChunksBeforeTurn = 4;  // chunks that may pass over the first in line between two of its own
inline constexpr int kChunksBeforeReservation = 32;  // chunks that may pass over a request that lacks pages

// Place in line: higher priority first, then lower id (ids are given in order of arrival).
struct Rank {
  int priority = 0;
  uint64_t id = 0;
};
bool RanksAbove(const Rank& a, const Rank& b);

// Class of remaining work: prompts within a factor of two of each other are the same.
int SizeClass(int64_t remaining_tokens);

// A request that waits in the queue or is in prefill.
struct PrefillCandidate {
  Rank rank;
  bool started = false;  // has a sequence
  int64_t remaining_tokens = 0;
  int64_t pages = 0;     // that starting it reserves
  bool blocked = false;  // the engine had no pages for it; until a sequence ends
  int passed_over = 0;   // chunks given to requests ranked below it since its own last one
};

struct PlannerState {
  std::vector<PrefillCandidate> prefills;  // in any order
  int decoding = 0;                        // sequences that can take a decode step
  int max_running = 0;                     // sequences in prefill or decode
  int64_t free_pages = 0;                  // not reserved by running sequences
  bool decode_due = false;                 // a chunk ran since the last decode step
};

struct WorkUnit {
  enum class Kind { kIdle, kStart, kPrefillChunk, kDecodeStep };
  Kind kind = Kind::kIdle;
  uint64_t id = 0;  // kStart and kPrefillChunk
};

WorkUnit Plan(const PlannerState& state);

}  // namespace slimfill::scheduler
