// The tokens of a byte-level BPE vocabulary and its merges, as stored in a model, checked and decoded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/bpe.h"
#include "engine/model/gguf.h"
#include "engine/model/pretokenizer.h"

namespace slimfill::engine {

// Where a tokenizer's data come from, for errors.
struct TokenizerKeys {
  const char *tokens, *token_types, *merges, *bos, *eos, *add_bos;
};
inline constexpr TokenizerKeys kGgufTokenizerKeys = {
    .tokens = "tokenizer.ggml.tokens",
    .token_types = "tokenizer.ggml.token_type",
    .merges = "tokenizer.ggml.merges",
    .bos = "tokenizer.ggml.bos_token_id",
    .eos = "tokenizer.ggml.eos_token_id",
    .add_bos = "tokenizer.ggml.add_bos_token",
};

// What a GGUF file's tokenizer.ggml.* keys or a tokenizer.json say, not looked at yet.
struct TokenizerData {
  std::vector<std::string> tokens;   // normal ones in GPT-2's byte characters, the others as they are
  std::vector<int64_t> token_types;  // TokenType
  std::vector<std::string> merges;   // "left right", by rank
  PreTokenizerRules rules;
  TokenId bos = -1;
  TokenId eos = -1;
  std::vector<TokenId> more_stops;  // end a generation as well
  bool add_bos = false;
  TokenizerKeys keys = kGgufTokenizerKeys;
};

// INVALID_ARGUMENT naming the key that is missing or wrong. Tokens are not looked at here.
absl::StatusOr<TokenizerData> ReadTokenizerData(const GgufFile& file);

// Numbered as in GGUF; unknown (2) counts as control, bytes (6) belong to SentencePiece vocabularies.
enum class TokenType : uint8_t { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };

class Vocabulary {
 public:
  // INVALID_ARGUMENT naming the token or merge that is wrong. Guarantees that bytes and merges give normal tokens only:
  // no text can be merged into a control token.
  static absl::StatusOr<Vocabulary> Create(const TokenizerData& data);

  int size() const { return static_cast<int>(types_.size()); }
  bool Contains(TokenId token) const { return token >= 0 && token < size(); }
  TokenType type(TokenId token) const { return types_[token]; }
  // The text that the token stands for; empty for unused ones.
  const std::string& bytes(TokenId token) const { return bytes_[token]; }
  size_t longest_token_bytes() const { return longest_token_bytes_; }
  const std::vector<TokenId>& byte_tokens() const { return byte_tokens_; }  // [256], -1 where there is none
  const std::vector<BytePairEncoder::Merge>& merges() const { return merges_; }

 private:
  absl::Status AddTokens(const TokenizerData& data);
  absl::Status AddMerges(const TokenizerData& data);

  std::vector<TokenType> types_;
  std::vector<std::string> bytes_;
  std::vector<TokenId> byte_tokens_;
  std::vector<BytePairEncoder::Merge> merges_;
  size_t longest_token_bytes_ = 1;
};

}  // namespace slimfill::engine
