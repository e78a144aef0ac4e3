// Bugs on request: calls that do nothing, as if their line were missing in the code that runs here. For tests which
// show that every such line is needed and that its loss is found.
#pragma once

#include <compare>
#include <string>
#include <vector>

#include "cusim/lane.h"

namespace cusim {

// A place that may be left out. In a kernel: what, in which file, at which line. On the host: which call of a function,
// from 1.
struct SyncPlace {
  std::string what;  // "__syncthreads in norm.cu", "cudaStreamWaitEvent"
  int number;
  auto operator<=>(const SyncPlace&) const = default;
};

// Notes the places that are passed and, of the host's calls, have something to wait for; counts calls anew.
void NotePlaces();
// Those that were passed since, each once.
std::vector<SyncPlace> NotedPlaces();

// From now on nothing happens at that place; counts calls anew.
void LeaveOut(const SyncPlace& place);
// Every launch gets so many bytes of dynamic shared memory less than it asks for.
void ShortenSharedMemory(size_t bytes);
// All as it should be, and nothing is noted any more.
void LeaveOutNothing();

// Whether this place is left out. REQUIRES, for all: the runtime's lock.
bool LeftOut(const char* what, Site site);
bool LeftOut(const char* function, bool something_to_wait_for);
size_t SharedMemoryLeftOut();

}  // namespace cusim
