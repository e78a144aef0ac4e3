// The weights in a Hugging Face model directory: model.safetensors, or the shards that model.safetensors.index.json
// names.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/mapped_file.h"
#include "engine/model/safetensors.h"
#include "engine/model/tensor_source.h"

namespace slimfill::engine {

// Immutable after Open; safe to read from any thread. Tensors point into the files' mappings.
class HfWeights final : public TensorSource {
 public:
  // INVALID_ARGUMENT naming the file and what is wrong with it.
  static absl::StatusOr<std::unique_ptr<HfWeights>> Open(const std::string& directory,
                                                         const SafetensorsLimits& limits = {});

  const std::string& name() const override { return directory_; }
  const std::vector<StoredTensor>& tensors() const override { return tensors_; }
  const StoredTensor* FindTensor(absl::string_view name) const override;
  const TensorNames& names() const override;

  // By name, without the directory.
  const std::map<std::string, MappedFile>& files() const { return files_; }

 private:
  explicit HfWeights(std::string directory) : directory_(std::move(directory)) {}
  absl::Status AddFile(const std::string& file, const SafetensorsLimits& limits);
  absl::Status AddShards(const std::string& index_path, const SafetensorsLimits& limits);

  const std::string directory_;
  std::map<std::string, MappedFile> files_;
  std::vector<StoredTensor> tensors_;
  std::map<std::string, std::pair<size_t, std::string>, std::less<>> by_name_;  // index in tensors_, and the file
};

}  // namespace slimfill::engine
