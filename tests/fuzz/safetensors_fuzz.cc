// Any bytes as a safetensors file: nothing may be read outside the input.
#include <cstddef>
#include <cstdint>

#include "engine/model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slimfill::engine;  // NOLINT: a program of one function
  const auto tensors = ParseSafetensors({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
  if (!tensors.ok()) return 0;
  // Every tensor may be read to its last byte.
  [[maybe_unused]] volatile std::byte last{};
  for (const StoredTensor& tensor : *tensors) {
    if (!tensor.bytes.empty()) last = tensor.bytes.back();
  }
  return 0;
}
