// How the emulator orders what a device may order as it likes. Hostile by default: fixed orders and early copies hide
// bugs.
#pragma once

#include <cstdint>

namespace cusim {

struct Schedule {
  enum class Lanes { kRandom, kFirstToLast, kLastToFirst };
  enum class Streams { kLazy, kEager, kRandom };     // lazy: nothing runs before somebody waits for it
  enum class Copies { kRandom, kAtWait, kAtIssue };  // of cp.async

  uint64_t seed = 1;
  Lanes lanes = Lanes::kRandom;
  Streams streams = Streams::kLazy;
  Copies copies = Copies::kRandom;
  // Device memory traps when the host touches it (one mprotect per allocation and operation: slow).
  bool protect_device_memory = false;
};

// At first from the environment: CUSIM_SEED, CUSIM_LANES (random, first, last), CUSIM_STREAMS (lazy, eager, random),
// CUSIM_COPIES (random, wait, issue), CUSIM_PROTECT (1).
const Schedule& CurrentSchedule();
// REQUIRES: nothing is queued on any stream.
void SetSchedule(const Schedule& schedule);

// Deterministic from the schedule's seed; not for cryptography.
class ScheduleRandom {
 public:
  explicit ScheduleRandom(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du) {}
  uint32_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return static_cast<uint32_t>(state_ >> 16);
  }
  bool OneIn(uint32_t n) { return Next() % n == 0; }

 private:
  uint64_t state_;
};

}  // namespace cusim
