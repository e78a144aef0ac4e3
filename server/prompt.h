// Prompts become tokens, with their length checked before the work that depends on it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "server/convert.h"

namespace slimfill::server {

struct TokenizedPrompt {
  std::vector<engine::TokenId> tokens;
  std::optional<std::pair<int64_t, int64_t>> last_user_content;  // see engine::SequenceRequest
};

// Immutable and thread safe.
class PromptTokenizer {
 public:
  explicit PromptTokenizer(const engine::Engine& engine);  // borrowed

  // INVALID_ARGUMENT for a prompt longer than the context, naming both lengths and the remedy.
  absl::StatusOr<TokenizedPrompt> Tokenize(Prompt prompt) const;

  // Bytes that no prompt within the context can exceed.
  int64_t max_prompt_bytes() const { return max_prompt_bytes_; }

 private:
  absl::StatusOr<TokenizedPrompt> Encode(const std::string& text) const;
  absl::StatusOr<TokenizedPrompt> Render(const std::vector<engine::ChatMessage>& messages) const;
  absl::Status CheckBytes(int64_t bytes) const;
  absl::Status TooLong(const char* approximately, int64_t tokens) const;
  absl::Status CheckEncoded(const absl::Status& status) const;

  const engine::Engine& engine_;
  const int64_t max_context_;
  const int64_t max_prompt_bytes_;
};

}  // namespace slimfill::server
