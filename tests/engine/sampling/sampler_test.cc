#include "engine/sampling/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <random>

namespace slimfill::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

SamplingParams AtTemperature(float temperature, uint64_t seed = 1) {
  SamplingParams params;
  params.temperature = temperature;
  params.seed = seed;
  return params;
}

TokenId SampleOnce(Sampler& sampler, std::vector<float> logits) {
  const auto sampled = sampler.Sample(absl::MakeSpan(logits));
  EXPECT_TRUE(sampled.ok()) << sampled.status();
  return sampled.ok() ? sampled->token : -1;
}

// How often each token was drawn.
std::map<TokenId, int> Histogram(const SamplingParams& params, const std::vector<float>& logits, int draws) {
  Sampler sampler(params, {}, static_cast<int>(logits.size()));
  std::map<TokenId, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[SampleOnce(sampler, logits)];
  return counts;
}

std::vector<float> LogsOf(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

// Draws follow `expected` (probabilities by token; 0: never drawn): chi-square below the 99.99 % quantile for up to 9
// degrees of freedom.
void ExpectDistribution(const SamplingParams& params, const std::vector<float>& logits,
                        const std::vector<double>& expected) {
  constexpr int kDraws = 20000;
  auto counts = Histogram(params, logits, kDraws);
  double chi_square = 0;
  for (size_t token = 0; token < expected.size(); ++token) {
    const int count = counts[static_cast<TokenId>(token)];
    if (expected[token] == 0) {
      EXPECT_EQ(count, 0) << "token " << token;
    } else {
      chi_square += std::pow(count - kDraws * expected[token], 2) / (kDraws * expected[token]);
    }
  }
  EXPECT_LT(chi_square, 33.7);
}

TEST(SamplerTest, GreedyTakesTheMostLikelyAndTheLowerOfEquals) {
  Sampler sampler({}, {}, 5);
  EXPECT_EQ(SampleOnce(sampler, {0, 3, 1, 3, 2}), 1);
  EXPECT_EQ(SampleOnce(sampler, {-5, -5, -5, -5, -5}), 0);
  EXPECT_EQ(SampleOnce(sampler, {-kInfinity, -3e38f, -kInfinity, kNan, kInfinity}), 1);
}

TEST(SamplerTest, NoFiniteLogitIsAnInternalError) {
  for (float temperature : {0.0f, 1.0f}) {
    Sampler sampler(AtTemperature(temperature), {}, 3);
    for (float bad : {kNan, -kInfinity, kInfinity}) {
      std::vector<float> logits(3, bad);
      const auto sampled = sampler.Sample(absl::MakeSpan(logits));
      ASSERT_EQ(sampled.status().code(), absl::StatusCode::kInternal);
      EXPECT_THAT(std::string(sampled.status().message()), HasSubstr("3 logits"));
    }
  }
}

TEST(SamplerTest, NonFiniteLogitsAreNeverDrawn) {
  const std::vector<float> logits = {kNan, 1, kInfinity, 1, -kInfinity};
  ExpectDistribution(AtTemperature(1), logits, {0, 0.5, 0, 0.5, 0});
  SamplingParams params = AtTemperature(1);
  params.top_k = 4;
  ExpectDistribution(params, logits, {0, 0.5, 0, 0.5, 0});
  params.top_p = 0.999f;
  params.logprobs = 3;
  ExpectDistribution(params, logits, {0, 0.5, 0, 0.5, 0});
}

TEST(SamplerTest, TemperatureOneDrawsTheModelsDistribution) {
  const std::vector<double> p = {0.05, 0.4, 0.1, 0.25, 0.2};
  ExpectDistribution(AtTemperature(1), LogsOf(p), p);
}

TEST(SamplerTest, TemperatureRaisesProbabilitiesToItsInverse) {
  // p^(1/0.5) = p^2 of 0.2, 0.3, 0.5: 4, 9, 25 of 38.
  ExpectDistribution(AtTemperature(0.5f), LogsOf({0.2, 0.3, 0.5}), {4 / 38.0, 9 / 38.0, 25 / 38.0});
  // Square roots of 0.16, 0.36, 0.48.
  const double sum = 0.4 + 0.6 + std::sqrt(0.48);
  ExpectDistribution(AtTemperature(2), LogsOf({0.16, 0.36, 0.48}), {0.4 / sum, 0.6 / sum, std::sqrt(0.48) / sum});
}

TEST(SamplerTest, ExtremeTemperaturesAndLogitsStayInRange) {
  for (float temperature : {1e-45f, 1e-30f, 1e-3f}) {
    Sampler sampler(AtTemperature(temperature), {}, 3);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(SampleOnce(sampler, {1, 1.1f, -1e30f}), 1);
  }
  ExpectDistribution(AtTemperature(100), {3e38f, 3e38f, -3e38f}, {0.5, 0.5, 0});
}

TEST(SamplerTest, TopKKeepsTheKMostLikely) {
  SamplingParams params = AtTemperature(1);
  params.top_k = 2;
  ExpectDistribution(params, LogsOf({0.1, 0.2, 0.3, 0.4}), {0, 0, 3 / 7.0, 4 / 7.0});
  // Of equals the lower ids.
  ExpectDistribution(params, LogsOf({0.1, 0.3, 0.3, 0.3}), {0, 0.5, 0.5, 0});
  params.top_k = 1;
  ExpectDistribution(params, LogsOf({0.1, 0.3, 0.3, 0.3}), {0, 1, 0, 0});
}

TEST(SamplerTest, TopPKeepsTheFewestThatReachIt) {
  SamplingParams params = AtTemperature(1);
  params.top_p = 0.65f;
  ExpectDistribution(params, LogsOf({0.1, 0.2, 0.3, 0.4}), {0, 0, 3 / 7.0, 4 / 7.0});
  params.top_p = 0.75f;
  ExpectDistribution(params, LogsOf({0.1, 0.2, 0.3, 0.4}), {0, 2 / 9.0, 3 / 9.0, 4 / 9.0});
  params.top_p = 1e-6f;
  ExpectDistribution(params, LogsOf({0.1, 0.2, 0.3, 0.4}), {0, 0, 0, 1});
  params.top_p = 0.4f;  // two of four equal ones: the lower ids
  ExpectDistribution(params, {1, 1, 1, 1}, {0.5, 0.5, 0, 0});
}

TEST(SamplerTest, MinPKeepsAFractionOfTheMostLikely) {
  SamplingParams params = AtTemperature(1);
  params.min_p = 0.6f;  // of 0.4: 0.24
  ExpectDistribution(params, LogsOf({0.1, 0.2, 0.3, 0.4}), {0, 0, 3 / 7.0, 4 / 7.0});
  params.min_p = 1;
  ExpectDistribution(params, LogsOf({0.1, 0.2, 0.3, 0.4}), {0, 0, 0, 1});
}

TEST(SamplerTest, FiltersComeAfterTemperatureAndSeeWhatTheOneBeforeLeft) {
  // Temperature 0.5 makes 1/30, 4/30, 9/30, 16/30 of 0.1 to 0.4: the nucleus of 0.8 is the last two (25/30).
  SamplingParams params = AtTemperature(0.5f);
  params.top_p = 0.8f;
  ExpectDistribution(params, LogsOf({0.1, 0.2, 0.3, 0.4}), {0, 0, 9 / 25.0, 16 / 25.0});
  // Top-k first: of 0.3 and 0.4 the nucleus of 0.55 is the last (4/7); of all four it would be both.
  params = AtTemperature(1);
  params.top_k = 2;
  params.top_p = 0.55f;
  ExpectDistribution(params, LogsOf({0.1, 0.2, 0.3, 0.4}), {0, 0, 0, 1});
  // Min-p compares after temperature: 0.3 is 0.5625 of 0.4 at 0.5, 0.75 at 1.
  params = AtTemperature(0.5f);
  params.min_p = 0.6f;
  ExpectDistribution(params, LogsOf({0.1, 0.2, 0.3, 0.4}), {0, 0, 0, 1});
}

TEST(SamplerTest, RepetitionPenaltyShrinksWhatWasSeenInPromptAndOutput) {
  SamplingParams params;
  params.repetition_penalty = 2;
  const std::vector<TokenId> prompt = {0, 0, -1, 99, 3};  // ids outside the vocabulary are ignored
  Sampler sampler(params, prompt, 4);
  EXPECT_EQ(SampleOnce(sampler, {4, 2.1f, 1, -1}), 1);     // 4/2 < 2.1
  EXPECT_EQ(SampleOnce(sampler, {4, 2.1f, 1, -1}), 0);     // now 2.1/2 too, once however often it was seen
  EXPECT_EQ(SampleOnce(sampler, {-9, -9, -1.5f, -1}), 2);  // -1*2 < -1.5
}

TEST(SamplerTest, PresenceAndFrequencyPenaltyCountGeneratedTokensOnly) {
  SamplingParams params;
  params.presence_penalty = 0.5f;
  const std::vector<TokenId> prompt = {0};
  Sampler presence(params, prompt, 3);
  EXPECT_EQ(SampleOnce(presence, {3, 2.6f, 2.55f}), 0);
  EXPECT_EQ(SampleOnce(presence, {3, 2.6f, 2.55f}), 1);  // 2.5
  EXPECT_EQ(SampleOnce(presence, {3, 2.6f, 2.55f}), 2);  // 2.5, 2.1
  EXPECT_EQ(SampleOnce(presence, {3, 2.6f, 2.55f}), 0);  // 2.5, 2.1, 2.05: no more for a second time

  params = {};
  params.frequency_penalty = 0.5f;
  Sampler frequency(params, prompt, 2);
  EXPECT_EQ(SampleOnce(frequency, {3, 1.9f}), 0);
  EXPECT_EQ(SampleOnce(frequency, {3, 1.9f}), 0);  // 2.5
  EXPECT_EQ(SampleOnce(frequency, {3, 1.9f}), 0);  // 2.0
  EXPECT_EQ(SampleOnce(frequency, {3, 1.9f}), 1);  // 1.5
}

TEST(SamplerTest, PenaltiesComeBeforeTemperature) {
  // Logits ln 0.5 each; the penalty of ln 2 halves token 0 before the temperature of 0.5 squares: 1 to 4, not 1 to 2.
  SamplingParams params = AtTemperature(0.5f);
  params.presence_penalty = static_cast<float>(std::log(2.0));
  int first = 0, draws = 0;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    params.seed = seed;
    Sampler sampler(params, {}, 2);
    if (SampleOnce(sampler, {9, -9}) != 0) continue;
    ++draws;
    first += SampleOnce(sampler, {-0.693f, -0.693f}) == 0;
  }
  EXPECT_EQ(draws, 4000);
  EXPECT_NEAR(first / 4000.0, 0.2, 0.03);
}

TEST(SamplerTest, SameSeedSameTokensWhateverElseRuns) {
  std::mt19937 random(6);
  std::vector<float> logits(500);
  for (float& logit : logits) logit = static_cast<float>(random() % 1000) / 200;
  SamplingParams params = AtTemperature(0.9f, 42);
  params.top_p = 0.95f;
  const auto draw = [&](uint64_t seed, bool disturbed) {
    params.seed = seed;
    Sampler sampler(params, {}, 500), other(AtTemperature(1, 3), {}, 500);
    std::vector<TokenId> tokens;
    for (int i = 0; i < 50; ++i) {
      if (disturbed) SampleOnce(other, logits);
      tokens.push_back(SampleOnce(sampler, logits));
    }
    return tokens;
  };
  EXPECT_EQ(draw(42, false), draw(42, true));
  EXPECT_NE(draw(42, false), draw(43, false));
}

TEST(SamplerTest, DrawsAreThoseOfTheDocumentedGenerator) {
  std::mt19937_64 generator(7);
  Sampler sampler(AtTemperature(1, 7), {}, 4);
  for (int i = 0; i < 200; ++i) {
    // Four equal tokens: a quarter of the range each, in order of the ids.
    const auto expected = static_cast<TokenId>(generator() >> 62);
    EXPECT_EQ(SampleOnce(sampler, {2, 2, 2, 2}), expected);
  }
}

TEST(SamplerTest, LogprobsAreOfTheModelsDistribution) {
  SamplingParams params = AtTemperature(0.5f);
  params.logprobs = 3;
  params.top_k = 1;
  params.repetition_penalty = 1.5f;
  params.presence_penalty = 1;
  const std::vector<TokenId> prompt = {3};
  Sampler sampler(params, prompt, 4);
  std::vector<float> logits = LogsOf({0.1, 0.2, 0.3, 0.4});
  const auto sampled = sampler.Sample(absl::MakeSpan(logits));
  ASSERT_TRUE(sampled.ok()) << sampled.status();
  EXPECT_EQ(sampled->token, 2);  // ln 0.4 * 1.5 < ln 0.3
  EXPECT_NEAR(sampled->logprob, std::log(0.3), 1e-5);
  ASSERT_EQ(sampled->top.size(), 3u);
  const TokenId tokens[] = {3, 2, 1};
  const double probabilities[] = {0.4, 0.3, 0.2};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(sampled->top[i].token, tokens[i]);
    EXPECT_NEAR(sampled->top[i].logprob, std::log(probabilities[i]), 1e-5);
  }

  params.logprobs = 0;
  Sampler chosen_only(params, {}, 4);
  logits = LogsOf({0.1, 0.2, 0.3, 0.4});
  EXPECT_TRUE(chosen_only.Sample(absl::MakeSpan(logits))->top.empty());

  params.logprobs = 20;  // more than there are
  Sampler all(params, {}, 4);
  logits = LogsOf({0.1, 0.2, 0.3, 0.4});
  EXPECT_EQ(all.Sample(absl::MakeSpan(logits))->top.size(), 4u);
}

// The kept set by sorting, as in the papers.
std::vector<TokenId> KeptBySorting(const SamplingParams& params, const std::vector<float>& logits) {
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) { return logits[a] > logits[b]; });
  if (params.top_k > 0) order.resize(std::min<size_t>(order.size(), params.top_k));
  const auto weight = [&](TokenId t) { return std::exp((double(logits[t]) - logits[order[0]]) / params.temperature); };
  double total = 0, mass = 0;
  for (TokenId token : order) total += weight(token);
  size_t kept = 0;
  while (kept < order.size() && mass < params.top_p * total) mass += weight(order[kept++]);
  while (weight(order[kept - 1]) < params.min_p) --kept;
  order.resize(kept);
  return order;
}

TEST(SamplerTest, LargeVocabulariesKeepTheSameTokensAsSortingDoes) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal(0, 3);
  for (int round = 0; round < 60; ++round) {
    std::vector<float> logits(20000);
    for (float& logit : logits) logit = normal(random);
    if (round % 3 == 0) {
      for (float& logit : logits) logit = std::round(logit);  // many equals
    }
    SamplingParams params = AtTemperature(round % 2 ? 0.3f : 0.7f, round);
    if (round % 4 != 0) params.top_p = 0.5f + 0.008f * static_cast<float>(round);
    if (round % 5 == 0) params.top_k = 1 + round * 100;
    if (round % 7 == 0) params.min_p = 0.05f;
    const std::vector<TokenId> kept = KeptBySorting(params, logits);
    Sampler sampler(params, {}, 20000);
    std::vector<bool> is_kept(20000);
    for (TokenId token : kept) is_kept[token] = true;
    std::vector<bool> drawn(20000);
    for (int i = 0; i < 50; ++i) {
      const TokenId token = SampleOnce(sampler, logits);
      EXPECT_TRUE(is_kept[token]) << "round " << round << " token " << token;
    }
    // The draw walks the kept tokens in the documented order, so the same fraction of mass gives the same token.
    std::vector<TokenId> in_order = kept;
    std::sort(in_order.begin() + std::min<size_t>(in_order.size(), Sampler::kHead), in_order.end());
    const float max = *std::max_element(logits.begin(), logits.end());
    std::mt19937_64 generator(params.seed);
    Sampler again(params, {}, 20000);
    int same = 0;
    for (int i = 0; i < 20; ++i) {
      double total = 0;
      for (TokenId token : in_order) total += std::exp((logits[token] - max) / params.temperature);
      double left = static_cast<double>(generator() >> 11) * 0x1p-53 * total;
      TokenId expected = -1;
      for (TokenId token : in_order) {
        expected = token;
        if ((left -= std::exp((logits[token] - max) / params.temperature)) < 0) break;
      }
      same += SampleOnce(again, logits) == expected;
    }
    EXPECT_EQ(same, 20) << "round " << round;
  }
}

// What a device tells of logits: its sum is off by `error`, its bounds are as wide as the backend's.
struct Told {
  Told(const std::vector<float>& all, float temperature, double error) {
    for (TokenId token = 0; token < static_cast<TokenId>(all.size()); ++token) {
      if (std::isfinite(all[token])) tokens.push_back(token);
    }
    std::stable_sort(tokens.begin(), tokens.end(), [&](TokenId a, TokenId b) { return all[a] > all[b]; });
    for (TokenId token : tokens) {
      logits.push_back(all[token]);
      mass += std::exp((double{all[token]} - all[tokens[0]]) / temperature);
    }
    mass *= 1 + error;
    tokens.resize(Sampler::kHead + 5, -1);  // more than are needed
    logits.resize(Sampler::kHead + 5, 0);
  }
  TopTokens view() const { return {tokens, logits, mass * (1 - 1e-4), mass * (1 + 1e-4)}; }
  std::vector<TokenId> tokens;
  std::vector<float> logits;
  double mass = 0;
};

struct Draws {
  int drawn = 0;
  int from_top = 0;  // that the most likely tokens decided
};

// Of two samplers one is told what the most likely tokens are, and asks for all logits only where those do not decide:
// both draw the same.
void DrawBothWays(const SamplingParams& params, const std::vector<float>& logits, double error, Draws& draws) {
  const int vocab = static_cast<int>(logits.size());
  const Told told(logits, params.temperature, error);
  Sampler sampler(params, {}, vocab), whole(params, {}, vocab);
  for (int i = 0; i < 40; ++i) {
    const std::optional<SampledToken> sampled = sampler.SampleTop(told.view());
    draws.from_top += sampled.has_value();
    ++draws.drawn;
    const TokenId token = sampled.has_value() ? sampled->token : SampleOnce(sampler, logits);
    EXPECT_EQ(token, SampleOnce(whole, logits)) << i << ", seed " << params.seed;
  }
}

TEST(SamplerTest, TheMostLikelyTokensAloneGiveWhatAllLogitsGive) {
  std::mt19937 random(9);
  Draws draws;
  for (int round = 0; round < 600; ++round) {
    std::normal_distribution<float> normal(0, 0.5f + 0.5f * static_cast<float>(round % 8));
    std::vector<float> logits(round % 9 == 0 ? 40 : 500);
    for (float& logit : logits) logit = round % 3 == 0 ? std::round(normal(random)) : normal(random);
    logits[7] = kInfinity;
    logits[8] = kNan;
    SamplingParams params = AtTemperature(0.3f + 0.3f * static_cast<float>(round % 4), round);
    if (round % 5 < 2) params.top_k = 1 + round % 130;
    if (round % 2 == 0) params.top_p = 0.05f + 0.0949f * static_cast<float>(round % 11);
    if (round % 7 == 0) params.min_p = 0.02f * static_cast<float>(1 + round % 5);
    DrawBothWays(params, logits, 0.9e-4 * (round % 3 - 1), draws);
  }
  EXPECT_GT(draws.from_top, draws.drawn / 2);
  EXPECT_LT(draws.from_top, draws.drawn);
}

// Where a boundary lies between the bounds of the mass, the most likely tokens must not decide.
TEST(SamplerTest, AMassThatIsNotKnownWellEnoughDecidesNothing) {
  std::vector<float> logits(1000, 0.0f);  // 64 of 1000 equals: each has 0.001
  SamplingParams params = AtTemperature(1);
  Draws draws;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    params.seed = seed;
    DrawBothWays(params, logits, seed % 2 == 0 ? 0.99e-4 : -0.99e-4, draws);
  }
  EXPECT_NEAR(draws.from_top, draws.drawn * 0.064, draws.drawn * 0.01);
  params.top_p = 0.02f;  // at the edge of the 20th
  Draws at_the_edge;
  DrawBothWays(params, logits, 0, at_the_edge);
  EXPECT_EQ(at_the_edge.from_top, 0);
  params.top_p = 0.0205f;
  Draws inside;
  DrawBothWays(params, logits, 0, inside);
  EXPECT_EQ(inside.from_top, inside.drawn);
}

TEST(SamplerTest, MorePossibleTokensThanTheHeadHoldAreDrawnByTheirProbabilities) {
  // Ten groups of twenty equals, in an order that mixes them: the head ends within a group.
  std::vector<double> p(200), of_group = {.25, .2, .15, .12, .1, .08, .05, .03, .01, .01};
  for (int i = 0; i < 200; ++i) p[i] = of_group[i % 10] / 20;
  const auto expect = [&](const SamplingParams& params, const std::vector<double>& want) {
    const auto counts = Histogram(params, LogsOf(p), 40000);
    double groups = 0, tokens = 0;  // chi-square of groups, and of tokens
    std::vector<double> group_counts(10), group_want(10);
    for (int i = 0; i < 200; ++i) {
      const int count = counts.count(i) > 0 ? counts.at(i) : 0;
      group_counts[i % 10] += count;
      group_want[i % 10] += want[i] * 40000;
      if (want[i] == 0) {
        EXPECT_EQ(count, 0) << i;
      } else {
        tokens += std::pow(count - want[i] * 40000, 2) / (want[i] * 40000);
      }
    }
    for (int g = 0; g < 10; ++g) {
      if (group_want[g] > 0) groups += std::pow(group_counts[g] - group_want[g], 2) / group_want[g];
    }
    EXPECT_LT(groups, 33.7);  // 99.99 % quantiles of up to 9 and 199 degrees of freedom
    EXPECT_LT(tokens, 283);
  };
  expect(AtTemperature(1, 11), p);
  SamplingParams params = AtTemperature(1, 12);
  params.top_p = 0.812f;  // five groups, which have 0.82, but for one token of 0.005
  std::vector<double> nucleus(200, 0);
  double mass = 0;
  for (int g = 0; g < 5; ++g) {
    for (int i = g; i < 200 && mass < 0.812; i += 10) mass += nucleus[i] = p[i];
  }
  for (double& probability : nucleus) probability /= mass;
  expect(params, nucleus);
}

TEST(SamplerTest, AllLogitsAreNeededForWhatTheMostLikelyDoNotTell) {
  const auto needed = [](const auto& change) {
    SamplingParams params = AtTemperature(1);
    params.top_k = 20;
    change(params);
    return Sampler(params, {}, 100).TopNeeded();
  };
  EXPECT_EQ(needed([](SamplingParams&) {}), 20);
  EXPECT_EQ(needed([](SamplingParams& params) { params.temperature = 0; }), 1);
  for (int top_k : {0, 64, 80, 100}) {
    EXPECT_EQ(needed([&](SamplingParams& params) { params.top_k = top_k; }), 64) << top_k;
  }
  EXPECT_EQ(needed([](SamplingParams& params) { params.logprobs = 0; }), 0);
  EXPECT_EQ(needed([](SamplingParams& params) { params.presence_penalty = 1; }), 0);
  EXPECT_EQ(needed([](SamplingParams& params) { params.forced_tokens = {3}; }), 0);
  Sampler greedy(AtTemperature(0), {}, 100);
  EXPECT_EQ(greedy.SampleTop({{7}})->token, 7);
  EXPECT_FALSE(greedy.SampleTop({{-1}}).has_value()) << "nothing finite: Sample says so";
}

TEST(SamplerTest, ForcedTokensComeFirstWithTheModelsOwnLogprobs) {
  SamplingParams params;
  params.logprobs = 0;
  params.forced_tokens = {2, 0};
  Sampler sampler(params, {}, 3);
  const std::vector<float> logits = LogsOf({.5, .3, .2});
  std::vector<TokenId> tokens;
  std::vector<float> probabilities;
  for (int i = 0; i < 3; ++i) {
    std::vector<float> copy = logits;
    const auto sampled = sampler.Sample(absl::MakeSpan(copy));
    ASSERT_TRUE(sampled.ok());
    tokens.push_back(sampled->token);
    probabilities.push_back(std::exp(sampled->logprob));
  }
  EXPECT_THAT(tokens, ElementsAre(2, 0, 0));  // greedy after them
  EXPECT_THAT(probabilities, ElementsAre(::testing::FloatNear(.2f, 1e-6), ::testing::FloatNear(.5f, 1e-6),
                                         ::testing::FloatNear(.5f, 1e-6)));
}

}  // namespace
}  // namespace slimfill::engine
