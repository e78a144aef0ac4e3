// Times of operations: the best of several, several operations taking turns so that they meet the same machine.
#pragma once

#include <time.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "base/clock_seconds.h"

namespace slimfill::engine {

struct Time {
  double cpu = 1e9;  // seconds; of all threads, divided by their number
  double wall = 1e9;
};

struct TimingOptions {
  int threads = 1;
  double seconds = 0.3;  // to spend on an operation
  int repeats = 3;       // at least
};

inline std::vector<Time> BestOf(const std::vector<std::function<void()>>& operations, const TimingOptions& options) {
  constexpr int kMaxRepeats = 200;
  // An OpenMP runtime's threads spin for a while after their work; nobody else is to pay for that.
  constexpr timespec kPause{0, 5'000'000};
  for (const auto& operation : operations) operation();
  std::vector<Time> best(operations.size());
  double total = 0;
  for (int repeat = 0; repeat < kMaxRepeats && (repeat < options.repeats || total < options.seconds); ++repeat) {
    for (size_t i = 0; i < operations.size(); ++i) {
      if (operations.size() > 1) nanosleep(&kPause, nullptr);
      const double cpu = ClockSeconds(CLOCK_PROCESS_CPUTIME_ID), wall = ClockSeconds(CLOCK_MONOTONIC);
      operations[i]();
      const double spent = ClockSeconds(CLOCK_MONOTONIC) - wall;
      best[i].cpu = std::min(best[i].cpu, (ClockSeconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) / options.threads);
      best[i].wall = std::min(best[i].wall, spent);
      total += spent / static_cast<double>(operations.size());
    }
  }
  return best;
}

}  // namespace slimfill::engine
