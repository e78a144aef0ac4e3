// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/tokenizer.h"

namespace slimfill::engine {

struct SamplingParams {
  int32_t max_tokens = 256;
  float temperature = 0;  // 0: greedy
  float top_p = 1;
  int32_t top_k = 0;  // 0: off
  float min_p = 0;
  float repetition_penalty = 1;  // divides positive, multiplies negative logits of tokens seen in prompt or output
  float presence_penalty = 0;    // of generated tokens
  float frequency_penalty = 0;
  uint64_t seed = 0;
  std::vector<std::string> stop;        // output ends before the first of these
  std::vector<TokenId> stop_token_ids;  // beside the model's own
  int32_t logprobs = -1;                // -1: none; 0: of the chosen token; k: also of the k most likely (at most 20)
  bool ignore_eos = false;              // for load tests
};

// INVALID_ARGUMENT naming field, value and allowed range: NaN, infinities, negatives, out of range, empty stop strings,
// more than 16 stop strings or 256 bytes each. `vocab` bounds stop_token_ids.
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

// One request's sampler: its penalties' counts and its random generator. Deterministic for a seed, whatever else runs.
// Ties go to the lower id. Not thread safe.
class Sampler {
 public:
  // `prompt` is read for the repetition penalty only.
  Sampler(const SamplingParams& params, absl::Span<const TokenId> prompt, int vocab);
  ~Sampler();
  // Logits [vocab] may be overwritten. NaN logits are treated as -infinity; if none is finite the result is INTERNAL.
  absl::StatusOr<SampledToken> Sample(absl::Span<float> logits);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slimfill::engine
