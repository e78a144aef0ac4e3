// A model as it lies on disk, whichever format: a GGUF file, or a Hugging Face directory with safetensors.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/model/chat_template.h"
#include "engine/model/config.h"
#include "engine/model/tensor_source.h"
#include "engine/model/tokenizer.h"

namespace slimfill::engine {

// Immutable; safe to read from any thread.
class ModelSource {
 public:
  virtual ~ModelSource() = default;
  const std::string& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  virtual const TensorSource& tensors() const = 0;
  virtual absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer() const = 0;
  // Statuses as of ChatTemplate::FromSource, and NOT_FOUND when the model has no template.
  virtual absl::StatusOr<ChatTemplate> MakeChatTemplate(const Tokenizer& tokenizer) const = 0;
  // Names the model's contents. Reads all of them on first use (0.5 GB takes about 0.4 s with SHA-NI). Thread safe.
  virtual std::string Sha256Hex() const = 0;

 protected:
  ModelSource(std::string path, ModelConfig config) : path_(std::move(path)), config_(std::move(config)) {}

 private:
  const std::string path_;
  const ModelConfig config_;
};

// A GGUF file, or a directory with config.json, tokenizer.json and model.safetensors or its index and shards; the
// configuration is read and checked. NOT_FOUND, PERMISSION_DENIED, or INVALID_ARGUMENT with what is wrong and what to
// do.
absl::StatusOr<std::unique_ptr<ModelSource>> OpenModel(const std::string& path);

}  // namespace slimfill::engine
