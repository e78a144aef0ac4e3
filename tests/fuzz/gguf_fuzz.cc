// Any bytes as a GGUF file: read, then taken for a model. Nothing may be read outside the input.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/model/config.h"
#include "engine/model/gguf.h"
#include "engine/model/weights.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace slimfill::engine;  // NOLINT: a program of one function
  const auto file = GgufFile::Parse({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
  if (!file.ok()) return 0;
  // Every tensor may be read to its last byte.
  [[maybe_unused]] volatile std::byte last{};
  for (const StoredTensor& tensor : (*file)->tensors()) last = tensor.bytes.back();
  const auto config = ReadModelConfig(**file);
  if (!config.ok()) return 0;
  const auto weights = ReadModelWeights(**file, *config);
  if (!weights.ok()) return 0;
  std::vector<float> row(config->hidden);
  weights->output.ReadRow(config->vocab - 1, absl::MakeSpan(row));
  for (const LayerWeights& layer : weights->layers) layer.qkv.ReadRow(layer.qkv.rows() - 1, absl::MakeSpan(row));
  return 0;
}
