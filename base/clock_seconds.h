// Seconds on one of the system's clocks, for benchmarks: CLOCK_MONOTONIC, or the CPU time of a thread or a process.
#pragma once

#include <time.h>

namespace slimfill {

inline double ClockSeconds(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

}  // namespace slimfill
