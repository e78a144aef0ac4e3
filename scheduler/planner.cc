#include "scheduler/planner.h"

#include <algorithm>
#include <bit>

namespace slimfill::scheduler {
namespace {

bool LacksPages(const PrefillCandidate& candidate, int64_t free_pages) {
  return !candidate.started && (candidate.blocked || candidate.pages > free_pages);
}

// The highest-ranked request that has lacked pages for too long; null when there is none.
const PrefillCandidate* HolderOfReservation(const PlannerState& state) {
  const PrefillCandidate* holder = nullptr;
  for (const PrefillCandidate& candidate : state.prefills) {
    if (!LacksPages(candidate, state.free_pages) || candidate.passed_over < kChunksBeforeReservation) continue;
    if (holder == nullptr || RanksAbove(candidate.rank, holder->rank)) holder = &candidate;
  }
  return holder;
}

std::vector<const PrefillCandidate*> Runnable(const PlannerState& state) {
  int running = state.decoding;
  for (const PrefillCandidate& candidate : state.prefills) running += candidate.started;
  const PrefillCandidate* reserved = HolderOfReservation(state);

  std::vector<const PrefillCandidate*> runnable;
  for (const PrefillCandidate& candidate : state.prefills) {
    const bool may_start = running < state.max_running && !LacksPages(candidate, state.free_pages) &&
                           (reserved == nullptr || RanksAbove(candidate.rank, reserved->rank));
    if (candidate.started || may_start) runnable.push_back(&candidate);
  }
  return runnable;
}

const PrefillCandidate* ChoosePrefill(const PlannerState& state) {
  const std::vector<const PrefillCandidate*> runnable = Runnable(state);
  if (runnable.empty()) return nullptr;
  const PrefillCandidate* first = *std::min_element(
      runnable.begin(), runnable.end(), [](const auto* a, const auto* b) { return RanksAbove(a->rank, b->rank); });
  if (first->passed_over >= kChunksBeforeTurn) return first;

  const PrefillCandidate* best = first;
  for (const PrefillCandidate* candidate : runnable) {
    if (candidate->rank.priority != first->rank.priority) continue;
    const int size = SizeClass(candidate->remaining_tokens), best_size = SizeClass(best->remaining_tokens);
    if (size < best_size || (size == best_size && RanksAbove(candidate->rank, best->rank))) best = candidate;
  }
  return best;
}

}  // namespace

bool RanksAbove(const Rank& a, const Rank& b) {
  return a.priority != b.priority ? a.priority > b.priority : a.id < b.id;
}

int SizeClass(int64_t remaining_tokens) {
  return std::bit_width(static_cast<uint64_t>(std::max<int64_t>(remaining_tokens, 1)));
}

WorkUnit Plan(const PlannerState& state) {
  if (state.decoding > 0 && state.decode_due) return {WorkUnit::Kind::kDecodeStep};
  if (const PrefillCandidate* next = ChoosePrefill(state); next != nullptr) {
    return {next->started ? WorkUnit::Kind::kPrefillChunk : WorkUnit::Kind::kStart, next->rank.id};
  }
  if (state.decoding > 0) return {WorkUnit::Kind::kDecodeStep};
  return {};
}

}  // namespace slimfill::scheduler
