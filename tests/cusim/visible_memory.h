// Copies and fills on behalf of emulated code. The emulator is not instrumented; these go through the C library, where
// the sanitizers look.
#pragma once

#include <cstddef>

namespace cusim {

void VisibleCopy(void* to, const void* from, size_t bytes);
void VisibleSet(void* p, int value, size_t bytes);

}  // namespace cusim
