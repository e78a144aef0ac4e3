// Wire messages to native types and back. Every field is checked here, before anything else looks at it.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "scheduler/scheduler.h"
#include "slimfill/v1/inference.pb.h"

namespace slimfill::server {

using Prompt = std::variant<std::string, std::vector<engine::ChatMessage>, std::vector<engine::TokenId>>;

// A checked request whose prompt is not tokenised yet.
struct GenerateInput {
  std::string model;
  Prompt prompt;
  engine::SamplingParams sampling;
  engine::PruningRequest pruning;
  int priority = 0;
  bool no_store = false;
};

struct TokenizeInput {
  std::string model;
  Prompt prompt;
  bool count_only = false;
  bool include_bytes = false;
};

// INVALID_ARGUMENT naming field, value and allowed range. `vocab` bounds token ids. Moves the prompt out of `request`.
absl::StatusOr<GenerateInput> FromProto(v1::GenerateRequest&& request, int vocab);
absl::StatusOr<GenerateInput> FromProto(v1::GenerateOnceRequest&& request, int vocab);
absl::StatusOr<GenerateInput> FromProto(v1::FirstTokenRequest&& request, int vocab);
absl::StatusOr<TokenizeInput> FromProto(v1::TokenizeRequest&& request);
absl::StatusOr<std::vector<engine::TokenId>> FromProto(const v1::DetokenizeRequest& request, int vocab,
                                                       int64_t max_tokens);

v1::Admitted ToProto(const scheduler::Admission& admission, int64_t prompt_tokens);
v1::Progress ToProto(const scheduler::Progress& progress, int64_t cached_tokens);
v1::Token ToProto(const engine::TokenEvent& token, const engine::Tokenizer& tokenizer);
v1::Finished ToProto(const scheduler::Finished& finished, uint64_t seed);
v1::GetModelResponse ToProto(const engine::EngineInfo& info);

}  // namespace slimfill::server
