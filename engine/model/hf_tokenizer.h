// The tokenizer of a Hugging Face model directory.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "engine/model/json.h"
#include "engine/model/vocabulary.h"

namespace slimfill::engine {

// Reads tokenizer.json: byte-level BPE with the pre-tokenizers that pretokenizer.h knows, recognised by their exact
// form; anything that would tokenize otherwise is refused by name. The ids up to `vocab`, the embedding's rows, that
// have no token are unused. End tokens come from tokenizer_config.json, generation_config.json and `config`
// (config.json), of which the first two may be missing. INVALID_ARGUMENT names the file, the piece and the remedy.
absl::StatusOr<TokenizerData> ReadHfTokenizer(const std::string& directory, const nlohmann::json& config, int vocab);

}  // namespace slimfill::engine
