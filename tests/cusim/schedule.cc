#include "tests/cusim/schedule.h"

#include <cstdlib>
#include <string>

#include "cusim/lane.h"

namespace cusim {
namespace {

// The index of the variable's value among `choices`; the first where it is not set.
int Choice(const char* variable, const char* const (&choices)[3]) {
  const char* value = std::getenv(variable);
  if (value == nullptr) return 0;
  for (int i = 0; i < 3; ++i) {
    if (std::string(value) == choices[i]) return i;
  }
  Fail("%s is %s: use %s, %s or %s", variable, value, choices[0], choices[1], choices[2]);
}

Schedule FromEnvironment() {
  Schedule schedule;
  if (const char* seed = std::getenv("CUSIM_SEED")) schedule.seed = std::strtoull(seed, nullptr, 0);
  schedule.lanes = static_cast<Schedule::Lanes>(Choice("CUSIM_LANES", {"random", "first", "last"}));
  schedule.streams = static_cast<Schedule::Streams>(Choice("CUSIM_STREAMS", {"lazy", "eager", "random"}));
  schedule.copies = static_cast<Schedule::Copies>(Choice("CUSIM_COPIES", {"random", "wait", "issue"}));
  const char* protect = std::getenv("CUSIM_PROTECT");
  schedule.protect_device_memory = protect != nullptr && protect[0] == '1';
  return schedule;
}

Schedule& Mutable() {
  static Schedule schedule = FromEnvironment();
  return schedule;
}

}  // namespace

const Schedule& CurrentSchedule() { return Mutable(); }
void SetSchedule(const Schedule& schedule) { Mutable() = schedule; }

}  // namespace cusim
