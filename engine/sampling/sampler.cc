#include "engine/sampling/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A token with its logit or, later, its probability times a constant.
struct Candidate {
  TokenId token;
  float value;
};

bool MoreLikely(const Candidate& a, const Candidate& b) {
  return a.value != b.value ? a.value > b.value : a.token < b.token;
}

bool IsFinite(float logit) { return logit > -kInfinity && logit < kInfinity; }

// Makes what is not finite -infinity, which nothing below chooses. Returns the most likely token, -1 when none is
// finite.
TokenId SanitizeAndArgmax(absl::Span<float> logits) {
  TokenId best = -1;
  float best_logit = -kInfinity;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!IsFinite(logits[i])) {
      logits[i] = -kInfinity;
    } else if (logits[i] > best_logit) {
      best_logit = logits[i];
      best = static_cast<TokenId>(i);
    }
  }
  return best;
}

TokenId Argmax(absl::Span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// The k most likely tokens, in no order. Logits below the k-th of those seen so far, which is nearly all of them, cost
// a comparison.
void SelectTopK(absl::Span<const float> logits, size_t k, std::vector<Candidate>& out) {
  const size_t capacity = std::max<size_t>(2 * k, 1024);
  float threshold = -kInfinity;
  out.clear();
  const auto keep_k = [&] {
    std::nth_element(out.begin(), out.begin() + (k - 1), out.end(), MoreLikely);
    out.resize(k);
    threshold = out.back().value;
  };
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] > threshold)) continue;
    out.push_back({static_cast<TokenId>(i), logits[i]});
    if (out.size() == capacity) keep_k();
  }
  if (out.size() > k) keep_k();
}

double TotalMass(const std::vector<Candidate>& candidates) {
  double total = 0;
  for (const Candidate& candidate : candidates) total += candidate.value;
  return total;
}

// The least likely token of the nucleus: the fewest most likely candidates whose mass is at least `p` of the total.
// Halves the range in which it lies by selection, so nothing is sorted but the end of it.
Candidate NucleusEnd(const std::vector<Candidate>& candidates, double p, std::vector<Candidate>& scratch) {
  const double total = TotalMass(candidates);
  // Those of less than (1-p)/n have less than 1-p together: the nucleus is complete without them.
  const double negligible = total * (1 - p) / static_cast<double>(candidates.size());
  scratch.clear();
  for (const Candidate& candidate : candidates) {
    if (candidate.value >= negligible) scratch.push_back(candidate);
  }
  double missing = total * p;
  auto first = scratch.begin(), last = scratch.end();
  while (last - first > 64) {
    const auto middle = first + (last - first) / 2;
    std::nth_element(first, middle, last, MoreLikely);
    double mass = 0;
    for (auto candidate = first; candidate != middle; ++candidate) mass += candidate->value;
    if (mass >= missing) {
      last = middle;
    } else {
      missing -= mass;
      first = middle;
    }
  }
  std::sort(first, last, MoreLikely);
  for (auto candidate = first; candidate != last; ++candidate) {
    missing -= candidate->value;
    if (missing <= 0) return *candidate;
  }
  return *(last - 1);  // rounding left a rest
}

double LogSumExp(absl::Span<const float> logits, float max) {
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - max);
  return max + std::log(sum);
}

bool HasPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1 || params.presence_penalty != 0 || params.frequency_penalty != 0;
}

// What is known of a mass.
struct Bounds {
  double low, high;
};

}  // namespace

struct Sampler::Impl {
  Impl(const SamplingParams& sampling_params, int vocab_size)
      : params(sampling_params), vocab(vocab_size), random(sampling_params.seed) {}

  absl::Status NothingFinite() const {
    return absl::InternalError(
        absl::StrCat("none of the model's ", vocab, " logits is finite: the weights or the computation are damaged"));
  }
  bool LimitsK() const { return params.top_k > 0 && params.top_k < vocab; }
  float Mass(float logit, float largest) const;
  void Penalize(absl::Span<float> logits) const;
  TokenId Draw(absl::Span<float> logits);
  std::optional<TokenId> DrawFromHead(bool is_all, Bounds mass);
  TokenId DrawFromCandidates();
  void NextFraction() { fraction = static_cast<double>(random() >> 11) * 0x1p-53; }
  void SetLogprobs(absl::Span<const float> raw_logits, SampledToken& sampled);

  const SamplingParams params;
  const int vocab;
  std::mt19937_64 random;
  double fraction = 0;                                 // draws the next token, from whatever it is drawn
  size_t sampled = 0;                                  // tokens so far
  absl::flat_hash_map<TokenId, int> generated_counts;  // with 0 for prompt tokens; empty without penalties
  std::vector<float> raw_logits;                       // before penalties, where log-probabilities are wanted
  // The tokens to draw from with their masses, in the order of the draw. `head`: the first of them, at most kHead.
  std::vector<Candidate> candidates, head;
  std::vector<Candidate> scratch;
};

void Sampler::Impl::Penalize(absl::Span<float> logits) const {
  constexpr float kMax = std::numeric_limits<float>::max();
  for (const auto& [token, count] : generated_counts) {
    float logit = logits[token];
    if (logit == -kInfinity) continue;
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    logit -= params.frequency_penalty * static_cast<float>(count);
    if (count > 0) logit -= params.presence_penalty;
    logits[token] = std::clamp(logit, -kMax, kMax);
  }
}

// Relative to the most likely token, whose mass is 1 at any temperature. Divided, for 1/temperature may be infinite.
float Sampler::Impl::Mass(float logit, float largest) const { return std::exp((logit - largest) / params.temperature); }

// Nearly always the head decides, so that no more than the sum is needed of the others. Overwrites logits with masses.
TokenId Sampler::Impl::Draw(absl::Span<float> logits) {
  const size_t k = LimitsK() ? static_cast<size_t>(params.top_k) : kHead;
  SelectTopK(logits, k, candidates);
  const auto head_end = candidates.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(kHead, candidates.size()));
  std::partial_sort(candidates.begin(), head_end, candidates.end(), MoreLikely);
  std::sort(head_end, candidates.end(), [](const Candidate& a, const Candidate& b) { return a.token < b.token; });
  const float largest = candidates.front().value;
  for (Candidate& candidate : candidates) candidate.value = Mass(candidate.value, largest);
  head.assign(candidates.begin(), head_end);
  double mass = 0;
  if (LimitsK()) {
    mass = TotalMass(candidates);
  } else {
    for (float& logit : logits) {
      logit = Mass(logit, largest);
      mass += logit;
    }
  }
  const bool is_all = candidates.size() < kHead || (LimitsK() && k <= kHead);
  if (const std::optional<TokenId> token = DrawFromHead(is_all, {mass, mass})) return *token;
  if (!LimitsK()) {
    for (const Candidate& candidate : head) logits[candidate.token] = 0;
    for (int i = 0; i < vocab; ++i) {
      if (logits[i] > 0) candidates.push_back({i, logits[i]});
    }
  }
  return DrawFromCandidates();
}

// The token of `fraction`, where it lies in the head: is_all, when there is nothing else to draw from, otherwise all
// have a mass within the bounds. Narrower bounds never give another token: whoever knows less gets the same or none.
std::optional<TokenId> Sampler::Impl::DrawFromHead(bool is_all, Bounds mass) {
  std::array<double, kHead> sums;  // of the masses up to each
  double sum = 0;
  for (size_t i = 0; i < head.size(); ++i) sums[i] = sum += head[i].value;
  const auto end = sums.begin() + head.size();
  mass = is_all ? Bounds{sum, sum} : Bounds{std::max(mass.low, sum), std::max(mass.high, sum)};
  auto kept_end = end;           // of those in the head that are kept
  bool keeps_no_other = is_all;  // what is not in the head
  if (params.top_p < 1) {
    const double p = params.top_p;
    const auto last = std::lower_bound(sums.begin(), end, p * mass.high);
    if (last != std::lower_bound(sums.begin(), end, p * mass.low)) return std::nullopt;
    if (last != end) {
      kept_end = last + 1;
      keeps_no_other = true;
    }
    // A nucleus has the mass wanted, and beyond that less than its last token has.
    mass = {p * mass.low, p * mass.high + head.back().value};
  }
  if (params.min_p > 0) {
    const auto first_out =
        std::find_if(head.begin(), head.end(), [&](const auto& c) { return c.value < params.min_p; });
    kept_end = std::min(kept_end, sums.begin() + (first_out - head.begin()));
    keeps_no_other = keeps_no_other || first_out != head.end();
    if (!keeps_no_other) return std::nullopt;  // who knows what the others' mass is
  }
  if (keeps_no_other) mass = {*(kept_end - 1), *(kept_end - 1)};
  const auto chosen = std::upper_bound(sums.begin(), kept_end, fraction * mass.high);
  if (chosen == kept_end || chosen != std::upper_bound(sums.begin(), kept_end, fraction * mass.low)) {
    return std::nullopt;
  }
  return head[chosen - sums.begin()].token;
}

TokenId Sampler::Impl::DrawFromCandidates() {
  const auto keep_if = [this](const auto& keep) {
    candidates.erase(std::remove_if(candidates.begin(), candidates.end(), [&](const auto& c) { return !keep(c); }),
                     candidates.end());
  };
  if (params.top_p < 1) {
    const Candidate end = NucleusEnd(candidates, params.top_p, scratch);
    keep_if([&end](const Candidate& candidate) { return !MoreLikely(end, candidate); });
  }
  if (params.min_p > 0) {
    keep_if([this](const Candidate& candidate) { return candidate.value >= params.min_p; });
  }
  double left = fraction * TotalMass(candidates);
  TokenId chosen = -1;
  for (const Candidate& candidate : candidates) {
    if (candidate.value == 0) continue;
    chosen = candidate.token;
    left -= candidate.value;
    if (left < 0) break;
  }
  return chosen;
}

void Sampler::Impl::SetLogprobs(absl::Span<const float> raw_logits, SampledToken& sampled) {
  const float max = raw_logits[Argmax(raw_logits)];
  const double log_sum_exp = LogSumExp(raw_logits, max);
  const auto logprob = [log_sum_exp](float logit) { return static_cast<float>(logit - log_sum_exp); };
  sampled.logprob = logprob(raw_logits[sampled.token]);
  if (params.logprobs == 0) return;
  SelectTopK(raw_logits, static_cast<size_t>(params.logprobs), candidates);
  std::sort(candidates.begin(), candidates.end(), MoreLikely);
  for (const Candidate& candidate : candidates) sampled.top.push_back({candidate.token, logprob(candidate.value)});
}

Sampler::Sampler(const SamplingParams& params, absl::Span<const TokenId> prompt, int vocab)
    : impl_(std::make_unique<Impl>(params, vocab)) {
  impl_->NextFraction();
  if (params.repetition_penalty == 1) return;
  for (TokenId token : prompt) {
    if (token >= 0 && token < vocab) impl_->generated_counts.try_emplace(token, 0);
  }
}

Sampler::~Sampler() = default;

absl::StatusOr<SampledToken> Sampler::Sample(absl::Span<float> logits) {
  const SamplingParams& params = impl_->params;
  SLIMFILL_CHECK(logits.size() == static_cast<size_t>(impl_->vocab));
  SampledToken sampled;
  sampled.token = SanitizeAndArgmax(logits);
  if (sampled.token < 0) return impl_->NothingFinite();
  if (params.logprobs >= 0) impl_->raw_logits.assign(logits.begin(), logits.end());
  const bool penalties = HasPenalties(params);
  if (penalties) impl_->Penalize(logits);
  if (params.temperature > 0) {
    sampled.token = impl_->Draw(logits);
    impl_->NextFraction();
  } else if (penalties) {
    sampled.token = Argmax(logits);
  }
  const std::vector<TokenId>& forced = params.forced_tokens;
  if (impl_->sampled < forced.size()) sampled.token = forced[impl_->sampled];
  ++impl_->sampled;
  if (penalties) ++impl_->generated_counts[sampled.token];
  if (params.logprobs >= 0) impl_->SetLogprobs(impl_->raw_logits, sampled);
  return sampled;
}

int Sampler::TopNeeded() const {
  const SamplingParams& params = impl_->params;
  if (params.logprobs >= 0 || HasPenalties(params) || impl_->sampled < params.forced_tokens.size()) return 0;
  if (params.temperature == 0) return 1;
  return impl_->LimitsK() ? std::min(params.top_k, kHead) : kHead;
}

std::optional<SampledToken> Sampler::SampleTop(const TopTokens& top) {
  const size_t needed = TopNeeded();
  SLIMFILL_CHECK(needed > 0 && needed <= top.tokens.size());
  if (top.tokens[0] < 0) return std::nullopt;
  TokenId token = top.tokens[0];
  if (impl_->params.temperature > 0) {
    impl_->head.clear();
    for (size_t i = 0; i < needed && top.tokens[i] >= 0; ++i) {
      impl_->head.push_back({top.tokens[i], impl_->Mass(top.logits[i], top.logits[0])});
    }
    const bool is_all = impl_->head.size() < kHead || (impl_->LimitsK() && impl_->params.top_k <= kHead);
    const double low = impl_->LimitsK() ? 0 : top.mass_low;  // of those that top_k keeps, it may be any
    const std::optional<TokenId> drawn = impl_->DrawFromHead(is_all, {low, top.mass_high});
    if (!drawn.has_value()) return std::nullopt;
    token = *drawn;
    impl_->NextFraction();
  }
  ++impl_->sampled;
  return SampledToken{.token = token};
}

}  // namespace slimfill::engine
