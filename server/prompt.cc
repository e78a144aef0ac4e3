#include "server/prompt.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "server/errors.h"

namespace slimfill::server {
namespace {

// Tokenising goes on this far past the context so that the error can name the prompt's real length.
constexpr int64_t kCountedContexts = 4;

int64_t LongestTokenBytes(const engine::Tokenizer& tokenizer) {
  size_t longest = 1;
  for (int token = 0; token < tokenizer.vocab_size(); ++token) {
    longest = std::max(longest, tokenizer.TokenBytes(token).size());
  }
  return static_cast<int64_t>(longest);
}

}  // namespace

PromptTokenizer::PromptTokenizer(const engine::Engine& engine)
    : engine_(engine),
      max_context_(engine.info().max_context),
      max_prompt_bytes_(max_context_ * LongestTokenBytes(engine.tokenizer())) {}

absl::StatusOr<TokenizedPrompt> PromptTokenizer::Tokenize(Prompt prompt) const {
  TokenizedPrompt tokenized;
  if (auto* ids = std::get_if<std::vector<engine::TokenId>>(&prompt)) {
    tokenized.tokens = std::move(*ids);
  } else if (const auto* text = std::get_if<std::string>(&prompt)) {
    SLIMFILL_ASSIGN_OR_RETURN(tokenized, Encode(*text));
  } else {
    SLIMFILL_ASSIGN_OR_RETURN(tokenized, Render(std::get<std::vector<engine::ChatMessage>>(prompt)));
  }
  const auto tokens = static_cast<int64_t>(tokenized.tokens.size());
  if (tokens > max_context_) return TooLong("", tokens);
  return tokenized;
}

absl::StatusOr<TokenizedPrompt> PromptTokenizer::Encode(const std::string& text) const {
  SLIMFILL_RETURN_IF_ERROR(CheckBytes(text.size()));
  const engine::Tokenizer& tokenizer = engine_.tokenizer();
  auto tokens = tokenizer.Encode(text, /*parse_special=*/false, kCountedContexts * max_context_);
  SLIMFILL_RETURN_IF_ERROR(CheckEncoded(tokens.status()));
  if (tokenizer.add_bos() && tokenizer.bos() >= 0) tokens->insert(tokens->begin(), tokenizer.bos());
  return TokenizedPrompt{*std::move(tokens), std::nullopt};
}

absl::StatusOr<TokenizedPrompt> PromptTokenizer::Render(const std::vector<engine::ChatMessage>& messages) const {
  if (engine_.chat_template() == nullptr) {
    return FieldError("chat", "this model has no chat template: send the prompt as `text`");
  }
  int64_t bytes = 0;
  for (const engine::ChatMessage& message : messages) bytes += static_cast<int64_t>(message.content.size());
  SLIMFILL_RETURN_IF_ERROR(CheckBytes(bytes));
  auto rendered = engine_.chat_template()->Render(messages, kCountedContexts * max_context_);
  SLIMFILL_RETURN_IF_ERROR(CheckEncoded(rendered.status()));
  TokenizedPrompt prompt{std::move(rendered->tokens), std::nullopt};
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role == "user") prompt.last_user_content = rendered->content_ranges[i];
  }
  return prompt;
}

absl::Status PromptTokenizer::CheckBytes(int64_t bytes) const {
  if (bytes <= max_prompt_bytes_) return absl::OkStatus();
  return WithReason(FieldError("prompt", absl::StrCat("prompt has ", bytes, " bytes, more than the model's context of ",
                                                      max_context_, " tokens can hold (", max_prompt_bytes_,
                                                      "): shorten it or start the server with --max-context")),
                    "PROMPT_TOO_LONG");
}

absl::Status PromptTokenizer::TooLong(const char* approximately, int64_t tokens) const {
  return WithReason(
      FieldError("prompt", absl::StrCat("prompt has ", approximately, tokens, " tokens, the model's context is ",
                                        max_context_, ": shorten it or start the server with --max-context")),
      "PROMPT_TOO_LONG");
}

// The tokenizer gives up with RESOURCE_EXHAUSTED, which means something else to clients.
absl::Status PromptTokenizer::CheckEncoded(const absl::Status& status) const {
  if (absl::IsResourceExhausted(status)) return TooLong("more than ", kCountedContexts * max_context_);
  if (absl::IsInvalidArgument(status)) return FieldError("prompt", status.message());
  return status;
}

}  // namespace slimfill::server
