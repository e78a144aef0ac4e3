// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/tokenizer.h"

namespace slimfill::engine {

// The order is that of HF's logits processors (penalties before temperature as everywhere): repetition, frequency and
// presence penalty, temperature, top-k, top-p, min-p. Each filter sees the distribution that the one before left.
struct SamplingParams {
  int32_t max_tokens = 256;
  float temperature = 0;         // 0: greedy, of the penalized logits
  float top_p = 1;               // keeps the fewest most likely tokens whose probabilities sum to at least this
  int32_t top_k = 0;             // 0: off
  float min_p = 0;               // keeps tokens of at least this times the probability of the most likely one
  float repetition_penalty = 1;  // divides positive, multiplies negative logits of tokens seen in prompt or output
  float presence_penalty = 0;    // subtracted from logits of generated tokens
  float frequency_penalty = 0;   // the same, times the token's count
  uint64_t seed = 0;
  std::vector<std::string> stop;        // output ends before the first of these
  std::vector<TokenId> stop_token_ids;  // beside the model's own
  int32_t logprobs = -1;                // -1: none; 0: of the chosen token; k: also of the k most likely (at most 20)
  bool ignore_eos = false;              // for load tests
  // The output's first tokens, whatever the logits say, so that a given continuation can be scored: their logprobs are
  // those of the model.
  std::vector<TokenId> forced_tokens;
};

// INVALID_ARGUMENT naming field, value and allowed range: NaN, infinities, negatives, out of range, empty stop strings,
// more than 16 stop strings or 256 bytes each, stop strings that are not UTF-8, more than 64 stop tokens. `vocab`
// bounds top_k and stop_token_ids.
absl::Status Validate(const SamplingParams& params, int vocab);

struct TokenLogprob {
  TokenId token;
  float logprob;  // natural log, of the model's distribution before penalties and temperature
};

struct SampledToken {
  TokenId token;
  float logprob = 0;              // set when params.logprobs >= 0
  std::vector<TokenLogprob> top;  // params.logprobs entries, most likely first
};

// The most likely tokens after a row and the mass of all.
struct TopTokens {
  absl::Span<const TokenId> tokens;  // the most likely first, of equals the lower id; -1 where no more are finite
  absl::Span<const float> logits;
  double mass_low, mass_high;  // bounds of the sum over all finite logits of exp((logit - largest) / temperature)
};

// One request's sampler: its penalties' counts and its random generator. Deterministic for a seed, whatever else runs:
// std::mt19937_64, whose numbers the standard defines, one of them for each token that is not chosen greedily, its
// upper 53 bits as a fraction of the kept tokens' mass: first that of the kHead most likely in order of their
// likelihood, then that of the others in order of their ids. Ties go to the lower id. Not thread safe.
class Sampler {
 public:
  static constexpr int kHead = 64;
  // `params` are valid. `prompt` is read for the repetition penalty only.
  Sampler(const SamplingParams& params, absl::Span<const TokenId> prompt, int vocab);
  ~Sampler();
  // Logits [vocab] may be overwritten. One that is not finite is never chosen; if none is finite the result is
  // INTERNAL.
  absl::StatusOr<SampledToken> Sample(absl::Span<float> logits);
  // How many of the most likely tokens may decide the next one: 1 for a greedy choice, at most kHead for a drawn one.
  // 0: all logits are asked for.
  int TopNeeded() const;
  // What Sample would give, where `top`, of at least TopNeeded() tokens, decides that; otherwise nothing happens, and
  // Sample has to be asked.
  std::optional<SampledToken> SampleTop(const TopTokens& top);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slimfill::engine
