// A model's configuration from the config.json of a Hugging Face model directory.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "engine/model/config.h"
#include "engine/model/json.h"

namespace slimfill::engine {

// model_type qwen2, qwen3, llama or mistral. `file` begins every error. INVALID_ARGUMENT naming the key and the remedy
// when something is missing, inconsistent, or of a variant that the forward pass does not have. The name is left empty.
absl::StatusOr<ModelConfig> ReadHfConfig(const nlohmann::json& config, const std::string& file);

}  // namespace slimfill::engine
