// What a running lane (a thread of a block) may look at: threadIdx and its kin, and its block's shared memory.
#pragma once

#include <cstddef>

#include "cusim/vector_types.h"

namespace cusim {

// Where in a source file a collective was called.
struct Site {
  const char* file;
  int line;
};
#define CUSIM_SITE ::cusim::Site site = {__builtin_FILE(), __builtin_LINE()}

unsigned LaneIndex();  // of the running lane within its warp
// The running block's dynamic shared memory, and a __shared__ array of it: the same key gives every lane the same
// memory.
unsigned char* DynamicShared();
void* SharedArray(const void* key, size_t bytes);

// Reports a bug of the kernel or of its caller and ends the process with kExitCode.
inline constexpr int kExitCode = 99;
[[noreturn]] void Fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace cusim

// The lane that runs now; the emulator sets them whenever it switches. constinit: no initialisation wrapper around
// every access.
extern constinit thread_local uint3 threadIdx;
extern constinit thread_local uint3 blockIdx;
extern constinit thread_local dim3 blockDim;
extern constinit thread_local dim3 gridDim;
constexpr int warpSize = 32;
