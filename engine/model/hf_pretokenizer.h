// Which text rules the normalizer and pre_tokenizer of a tokenizer.json stand for.
#pragma once

#include "absl/status/statusor.h"
#include "engine/model/json_object.h"
#include "engine/model/pretokenizer.h"

namespace slimfill::engine {

// The known forms:
//   normalizer      none, or NFC
//   pre_tokenizer   ByteLevel (gpt-2); Digits, each alone, then ByteLevel (smollm); Split by the expression of qwen2,
//                   llama-bpe or tekken, then ByteLevel without one of its own
// Others are refused with INVALID_ARGUMENT. whole_word_lookup is not decided here.
absl::StatusOr<PreTokenizerRules> RecognisePreTokenizer(const JsonObject& tokenizer);

// The members of a piece that may be a Sequence of pieces ("pretokenizers" names its list), or be absent.
absl::StatusOr<std::vector<JsonObject>> PiecesOf(const JsonObject& parent, const std::string& key,
                                                 const std::string& list);

}  // namespace slimfill::engine
