// Errors on request, as a broken device or a full one gives them.
#pragma once

#include <string>

#include "cusim/host_api.h"

namespace cusim {

// From now on the runtime function of this name returns `error`, after `calls_before` more good calls. With `sticky`,
// every later call of any function fails with it, as after an illegal address; otherwise one call does.
void InjectFault(const std::string& function, cudaError_t error, int calls_before, bool sticky);
void ClearFaults();
// For programs that run as a process of their own: where the environment's CUSIM_BREAKS_WITH names a file, the device
// has met an illegal address once the file is there.

// What the named function is to return; cudaSuccess: nothing is asked for. REQUIRES: the runtime's lock.
cudaError_t TakeFault(const char* function);

}  // namespace cusim
