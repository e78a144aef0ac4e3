#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engine/sampling/sampler.h"

namespace slimfill::engine {
namespace {

using ::testing::HasSubstr;

constexpr int kVocab = 1000;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kHuge = std::numeric_limits<float>::max();
constexpr int32_t kMinInt = std::numeric_limits<int32_t>::min();
constexpr int32_t kMaxInt = std::numeric_limits<int32_t>::max();

template <typename T>
struct Field {
  const char* name;
  T SamplingParams::*member;
  std::vector<T> allowed, bad;
  const char* range;
};

template <typename T>
void CheckField(const Field<T>& field) {
  for (T value : field.allowed) {
    SamplingParams params;
    params.*field.member = value;
    EXPECT_TRUE(Validate(params, kVocab).ok()) << field.name << " " << value << ": " << Validate(params, kVocab);
  }
  for (T value : field.bad) {
    SamplingParams params;
    params.*field.member = value;
    const absl::Status status = Validate(params, kVocab);
    ASSERT_TRUE(absl::IsInvalidArgument(status)) << field.name << " " << value;
    EXPECT_THAT(std::string(status.message()), ::testing::StartsWith(std::string(field.name) + " is "));
    EXPECT_THAT(std::string(status.message()), HasSubstr(field.range));
  }
}

class FloatFieldTest : public ::testing::TestWithParam<Field<float>> {};
TEST_P(FloatFieldTest, TakesItsRangeOnly) { CheckField(GetParam()); }
INSTANTIATE_TEST_SUITE_P(
    All, FloatFieldTest,
    ::testing::Values(Field<float>{"temperature",
                                   &SamplingParams::temperature,
                                   {0, -0.0f, 1e-30f, 1, 100},
                                   {-1e-6f, -1, 100.1f, kHuge, -kHuge, kNan, kInfinity, -kInfinity},
                                   "allowed is 0 to 100"},
                      Field<float>{"top_p",
                                   &SamplingParams::top_p,
                                   {1e-6f, 0.5f, 1},
                                   {0, -0.0f, -1, 1e-7f, 1.0001f, kHuge, -kHuge, kNan, kInfinity, -kInfinity},
                                   "allowed is 1e-06 to 1"},
                      Field<float>{"min_p",
                                   &SamplingParams::min_p,
                                   {0, 0.5f, 1},
                                   {-0.1f, 1.1f, kHuge, -kHuge, kNan, kInfinity, -kInfinity},
                                   "allowed is 0 to 1"},
                      Field<float>{"repetition_penalty",
                                   &SamplingParams::repetition_penalty,
                                   {0.01f, 1, 100},
                                   {0, -1, 0.001f, 101, kHuge, -kHuge, kNan, kInfinity, -kInfinity},
                                   "allowed is 0.01 to 100"},
                      Field<float>{"presence_penalty",
                                   &SamplingParams::presence_penalty,
                                   {-2, 0, 2},
                                   {-2.1f, 2.1f, kHuge, -kHuge, kNan, kInfinity, -kInfinity},
                                   "allowed is -2 to 2"},
                      Field<float>{"frequency_penalty",
                                   &SamplingParams::frequency_penalty,
                                   {-2, 0, 2},
                                   {-2.1f, 2.1f, kHuge, -kHuge, kNan, kInfinity, -kInfinity},
                                   "allowed is -2 to 2"}),
    [](const auto& info) { return info.param.name; });

class IntFieldTest : public ::testing::TestWithParam<Field<int32_t>> {};
TEST_P(IntFieldTest, TakesItsRangeOnly) { CheckField(GetParam()); }
INSTANTIATE_TEST_SUITE_P(All, IntFieldTest,
                         ::testing::Values(Field<int32_t>{"max_tokens",
                                                          &SamplingParams::max_tokens,
                                                          {1, 256, 1 << 20},
                                                          {0, -1, kMinInt, kMaxInt, (1 << 20) + 1},
                                                          "allowed is 1 to 1048576"},
                                           Field<int32_t>{"top_k",
                                                          &SamplingParams::top_k,
                                                          {0, 1, kVocab},
                                                          {-1, kMinInt, kMaxInt, kVocab + 1},
                                                          "allowed is 0 to 1000"},
                                           Field<int32_t>{"logprobs",
                                                          &SamplingParams::logprobs,
                                                          {-1, 0, 20},
                                                          {-2, 21, kMinInt, kMaxInt},
                                                          "allowed is -1 to 20"}),
                         [](const auto& info) { return info.param.name; });

std::string ErrorFor(const SamplingParams& params) {
  const absl::Status status = Validate(params, kVocab);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(SamplingParamsTest, LimitsStopStrings) {
  SamplingParams params;
  params.stop = std::vector<std::string>(16, std::string(256, 'x'));
  EXPECT_TRUE(Validate(params, kVocab).ok());
  params.stop.push_back("y");
  EXPECT_EQ(ErrorFor(params), "stop has 17 strings, allowed are 0 to 16");
  params.stop = {"a", ""};
  EXPECT_THAT(ErrorFor(params), HasSubstr("stop[1] length is 0, allowed is 1 to 256 bytes"));
  params.stop = {std::string(257, 'x')};
  EXPECT_THAT(ErrorFor(params), HasSubstr("stop[0] length is 257"));
  params.stop = {"ok", "a\xFF"};
  EXPECT_EQ(ErrorFor(params), "stop[1] has an invalid byte at 1, allowed is UTF-8");
  params.stop = {"same", "same"};
  EXPECT_TRUE(Validate(params, kVocab).ok());
}

TEST(SamplingParamsTest, LimitsStopTokens) {
  SamplingParams params;
  params.stop_token_ids = std::vector<TokenId>(64, kVocab - 1);
  EXPECT_TRUE(Validate(params, kVocab).ok());
  params.stop_token_ids.push_back(0);
  EXPECT_EQ(ErrorFor(params), "stop_token_ids has 65 ids, allowed are 0 to 64");
  for (TokenId id : {-1, kVocab, kMinInt, kMaxInt}) {
    params.stop_token_ids = {5, id};
    EXPECT_THAT(ErrorFor(params), HasSubstr("stop_token_ids[1] is " + std::to_string(id) + ", allowed is 0 to 999"));
  }
}

TEST(SamplingParamsTest, DefaultsAndAnySeedAreValid) {
  SamplingParams params;
  params.seed = std::numeric_limits<uint64_t>::max();
  EXPECT_TRUE(Validate(params, kVocab).ok());
}

}  // namespace
}  // namespace slimfill::engine
