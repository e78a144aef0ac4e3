#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/model/utf8.h"
#include "engine/sampling/sampler.h"

namespace slimfill::engine {
namespace {

constexpr int32_t kMaxTokensLimit = 1 << 20;
constexpr float kMaxTemperature = 100;
constexpr float kMinTopP = 1e-6f;  // keeps one token already
constexpr float kMinRepetitionPenalty = 0.01f;
constexpr float kMaxRepetitionPenalty = 100;
constexpr float kMaxPenalty = 2;  // as in OpenAI's API
constexpr int32_t kMaxLogprobs = 20;
constexpr size_t kMaxStopStrings = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr size_t kMaxStopTokens = 64;

// Works for NaN: no comparison with it holds.
template <typename T>
absl::Status CheckRange(absl::string_view field, T value, T low, T high, absl::string_view meaning = "") {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, ", allowed is ", low, " to ", high, meaning));
}

absl::Status CheckStopStrings(const std::vector<std::string>& stop) {
  if (stop.size() > kMaxStopStrings) {
    return absl::InvalidArgumentError(
        absl::StrCat("stop has ", stop.size(), " strings, allowed are 0 to ", kMaxStopStrings));
  }
  for (size_t i = 0; i < stop.size(); ++i) {
    SLIMFILL_RETURN_IF_ERROR(
        CheckRange<size_t>(absl::StrCat("stop[", i, "] length"), stop[i].size(), 1, kMaxStopBytes, " bytes"));
    if (ValidUtf8Prefix(stop[i]) != stop[i].size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("stop[", i, "] has an invalid byte at ", ValidUtf8Prefix(stop[i]), ", allowed is UTF-8"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const SamplingParams& params, int vocab) {
  SLIMFILL_RETURN_IF_ERROR(CheckRange<int32_t>("max_tokens", params.max_tokens, 1, kMaxTokensLimit));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("temperature", params.temperature, 0.0f, kMaxTemperature, " (0: greedy)"));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("top_p", params.top_p, kMinTopP, 1.0f, " (1: off)"));
  SLIMFILL_RETURN_IF_ERROR(CheckRange<int32_t>("top_k", params.top_k, 0, vocab, ", the vocabulary's size (0: off)"));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("min_p", params.min_p, 0.0f, 1.0f, " (0: off)"));
  SLIMFILL_RETURN_IF_ERROR(CheckRange("repetition_penalty", params.repetition_penalty, kMinRepetitionPenalty,
                                      kMaxRepetitionPenalty, " (1: off)"));
  SLIMFILL_RETURN_IF_ERROR(
      CheckRange("presence_penalty", params.presence_penalty, -kMaxPenalty, kMaxPenalty, " (0: off)"));
  SLIMFILL_RETURN_IF_ERROR(
      CheckRange("frequency_penalty", params.frequency_penalty, -kMaxPenalty, kMaxPenalty, " (0: off)"));
  SLIMFILL_RETURN_IF_ERROR(CheckRange<int32_t>("logprobs", params.logprobs, -1, kMaxLogprobs, " (-1: none)"));
  SLIMFILL_RETURN_IF_ERROR(CheckStopStrings(params.stop));
  if (params.stop_token_ids.size() > kMaxStopTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("stop_token_ids has ", params.stop_token_ids.size(), " ids, allowed are 0 to ", kMaxStopTokens));
  }
  for (size_t i = 0; i < params.stop_token_ids.size(); ++i) {
    SLIMFILL_RETURN_IF_ERROR(
        CheckRange<int32_t>(absl::StrCat("stop_token_ids[", i, "]"), params.stop_token_ids[i], 0, vocab - 1));
  }
  SLIMFILL_RETURN_IF_ERROR(
      CheckRange<size_t>("forced_tokens length", params.forced_tokens.size(), 0, static_cast<size_t>(kMaxTokensLimit)));
  for (size_t i = 0; i < params.forced_tokens.size(); ++i) {
    SLIMFILL_RETURN_IF_ERROR(
        CheckRange<int32_t>(absl::StrCat("forced_tokens[", i, "]"), params.forced_tokens[i], 0, vocab - 1));
  }
  return absl::OkStatus();
}

}  // namespace slimfill::engine
