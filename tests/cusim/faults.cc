#include "tests/cusim/faults.h"

#include <unistd.h>

#include <cstdlib>

#include "tests/cusim/stream.h"

namespace cusim {
namespace {

struct Fault {
  std::string function;  // empty: none
  cudaError_t error = cudaSuccess;
  int calls_before = 0;
  bool sticky = false;
  bool stuck = false;
};

Fault& Asked() {
  static auto* fault = new Fault();
  return *fault;
}

bool BrokenByFile() {
  static const char* const file = std::getenv("CUSIM_BREAKS_WITH");
  return file != nullptr && access(file, F_OK) == 0;
}

}  // namespace

void InjectFault(const std::string& function, cudaError_t error, int calls_before, bool sticky) {
  const RuntimeLock lock;
  Asked() = {function, error, calls_before, sticky, false};
}

void ClearFaults() {
  const RuntimeLock lock;
  Asked() = {};
}

cudaError_t TakeFault(const char* function) {
  Fault& fault = Asked();
  if (fault.stuck) return fault.error;
  if (BrokenByFile()) return cudaErrorIllegalAddress;
  if (fault.function != function || fault.calls_before-- > 0) return cudaSuccess;
  const cudaError_t error = fault.error;
  fault.stuck = fault.sticky;
  if (!fault.sticky) fault = {};
  return error;
}

}  // namespace cusim
