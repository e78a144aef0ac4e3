#include "tests/cusim/visible_memory.h"

#include <cstring>

namespace cusim {
namespace {

// Volatile, so that the compiler makes real calls.
void* (*volatile copy)(void*, const void*, size_t) = std::memcpy;
void* (*volatile set)(void*, int, size_t) = std::memset;

}  // namespace

void VisibleCopy(void* to, const void* from, size_t bytes) { copy(to, from, bytes); }
void VisibleSet(void* p, int value, size_t bytes) { set(p, value, bytes); }

}  // namespace cusim
