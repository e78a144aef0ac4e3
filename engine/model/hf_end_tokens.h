// Which tokens end a generation, as a Hugging Face model directory says it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/bpe.h"
#include "engine/model/json.h"

namespace slimfill::engine {

struct HfEndTokens {
  TokenId bos = -1;            // tokenizer_config.json's bos_token
  TokenId eos = -1;            // its eos_token, or else the first of `stops`
  std::vector<TokenId> stops;  // eos_token_id of generation_config.json, or else of config.json
};

// `lookup` gives the id of a token's text, or -1. INVALID_ARGUMENT naming the file and key that is wrong.
absl::StatusOr<HfEndTokens> ReadHfEndTokens(const std::string& directory, const nlohmann::json& config, int vocab,
                                            const std::function<TokenId(const std::string&)>& lookup);

// The directory's file as a JSON object, or an empty object when there is none.
absl::StatusOr<nlohmann::json> ReadOptionalJson(const std::string& directory, const char* file);

}  // namespace slimfill::engine
