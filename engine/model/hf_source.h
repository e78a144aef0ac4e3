// A Hugging Face model directory as a model source.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/model/source.h"

namespace slimfill::engine {

// The model's name is the directory's. Its SHA-256 is that of the list of config.json, tokenizer.json and the weights'
// files in the order of their names, as sha256sum prints it:
//   sha256sum config.json model*.safetensors tokenizer.json | sha256sum
absl::StatusOr<std::unique_ptr<ModelSource>> OpenHfModel(const std::string& directory);

}  // namespace slimfill::engine
