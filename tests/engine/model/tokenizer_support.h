// Tokenizers and goldens for tests.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/model/tokenizer.h"

namespace slimfill::testing {

// tests/golden/tokenizer/NAME, or the file of that name in the folder that SLIMFILL_TOKENIZER_GOLDENS names.
nlohmann::json ReadTokenizerGolden(const std::string& name);

// The goldens' vocabulary of 1,500 tokens and Llama 3's and ChatML's special tokens, with pre-tokenizer `pre`.
engine::TokenizerData SmallTokenizerData(const std::string& pre);
std::unique_ptr<engine::Tokenizer> SmallTokenizer(const std::string& pre);

// One of the real models; throws, saying how to get it, when it is missing.
std::unique_ptr<engine::GgufFile> OpenModel(const std::string& file);

// A name that goldens are stored under: the pre-tokenizer of a model ("qwen2", "smollm"), or "small_" and the one that
// the small vocabulary is used with. Loaded once for all tests.
const engine::Tokenizer& GoldenTokenizer(const std::string& name);

}  // namespace slimfill::testing
