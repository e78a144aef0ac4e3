#include "tests/cusim/omissions.h"

#include <cstring>
#include <map>
#include <set>

#include "tests/cusim/stream.h"

namespace cusim {
namespace {

struct Omissions {
  bool watching = false;  // kernels pass here often: nothing else is asked for at most times
  SyncPlace left_out;
  std::set<SyncPlace> noted;
  std::map<std::string, int> calls;
  size_t shared_bytes = 0;
};

Omissions& Asked() {
  static auto* asked = new Omissions();
  return *asked;
}

void Restart(bool watching, const SyncPlace& left_out, size_t shared_bytes) {
  const RuntimeLock lock;
  Asked() = {watching, left_out, {}, {}, shared_bytes};
}

}  // namespace

void NotePlaces() { Restart(true, {}, 0); }

std::vector<SyncPlace> NotedPlaces() {
  const RuntimeLock lock;
  return {Asked().noted.begin(), Asked().noted.end()};
}

void LeaveOut(const SyncPlace& place) { Restart(true, place, 0); }
void ShortenSharedMemory(size_t bytes) { Restart(false, {}, bytes); }
void LeaveOutNothing() {
  const RuntimeLock lock;
  Asked().watching = false;
  Asked().shared_bytes = 0;
}

bool LeftOut(const char* what, Site site) {
  if (!Asked().watching) return false;
  const char* slash = std::strrchr(site.file, '/');
  const SyncPlace place{std::string(what) + " in " + (slash == nullptr ? site.file : slash + 1), site.line};
  Asked().noted.insert(place);
  return place == Asked().left_out;
}

bool LeftOut(const char* function, bool something_to_wait_for) {
  if (!Asked().watching) return false;
  const SyncPlace place{function, ++Asked().calls[function]};
  if (something_to_wait_for) Asked().noted.insert(place);
  return place == Asked().left_out;
}

size_t SharedMemoryLeftOut() { return Asked().shared_bytes; }

}  // namespace cusim
