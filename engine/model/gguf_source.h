// A GGUF file as a model source.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/model/source.h"

namespace slimfill::engine {

absl::StatusOr<std::unique_ptr<ModelSource>> OpenGgufModel(const std::string& path);

}  // namespace slimfill::engine
