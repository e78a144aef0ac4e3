#include "scheduler/admission.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::scheduler {
namespace {

using ::testing::HasSubstr;

AdmissionInput Roomy() {
  AdmissionInput input;
  input.max_queued_requests = 256;
  input.max_queued_prompt_tokens = 100000;
  input.pages_total = 1000;
  input.prompt_tokens = 4000;
  input.pages = 63;
  return input;
}

void ExpectRefused(const AdmissionInput& input, const char* reason, absl::StatusCode code,
                   std::initializer_list<const char*> texts) {
  const std::optional<Refusal> refusal = CheckAdmission(input);
  ASSERT_TRUE(refusal.has_value());
  EXPECT_STREQ(refusal->reason, reason);
  EXPECT_EQ(refusal->status.code(), code);
  for (const char* text : texts) EXPECT_THAT(std::string(refusal->status.message()), HasSubstr(text));
}

TEST(AdmissionTest, AdmitsWhatFits) { EXPECT_FALSE(CheckAdmission(Roomy()).has_value()); }

TEST(AdmissionTest, FullQueueNamesItsLengthLimitAndFlag) {
  AdmissionInput input = Roomy();
  input.queued_requests = 255;
  EXPECT_FALSE(CheckAdmission(input).has_value());
  input.queued_requests = 256;
  ExpectRefused(input, "queue_full", absl::StatusCode::kResourceExhausted, {"256 requests", "--max-queue"});
}

TEST(AdmissionTest, TooManyQueuedTokensNameBothCountsLimitAndFlag) {
  AdmissionInput input = Roomy();
  input.queued_prompt_tokens = 96000;
  EXPECT_FALSE(CheckAdmission(input).has_value());
  input.queued_prompt_tokens = 96001;
  ExpectRefused(input, "queue_tokens", absl::StatusCode::kResourceExhausted,
                {"96001 prompt tokens", "4000", "100000", "--max-queue-tokens"});
}

TEST(AdmissionTest, EmptyQueueTakesAPromptLongerThanItsTokenLimit) {
  AdmissionInput input = Roomy();
  input.prompt_tokens = 500000;
  EXPECT_FALSE(CheckAdmission(input).has_value());
}

TEST(AdmissionTest, RequestThatCanNeverFitNamesPages) {
  AdmissionInput input = Roomy();
  input.pages = 1000;
  EXPECT_FALSE(CheckAdmission(input).has_value());
  input.pages = 1001;
  ExpectRefused(input, "pages", absl::StatusCode::kInvalidArgument,
                {"1001 KV pages", "has 1000", "shorten the prompt", "--kv-pages-memory"});
}

TEST(AdmissionTest, DrainingIsUnavailableWhateverElseIsWrong) {
  AdmissionInput input = Roomy();
  input.draining = true;
  input.pages = 5000;
  ExpectRefused(input, "draining", absl::StatusCode::kUnavailable, {"shutting down"});
}

TEST(AdmissionTest, PassedDeadlineIsRefusedWithoutAnyPrediction) {
  AdmissionInput input = Roomy();
  input.time_left = absl::ZeroDuration();
  ExpectRefused(input, "deadline", absl::StatusCode::kDeadlineExceeded, {"passed 0.000 s"});
  input.time_left = absl::Milliseconds(-250);
  ExpectRefused(input, "deadline", absl::StatusCode::kDeadlineExceeded, {"passed 0.250 s"});
}

TEST(AdmissionTest, UnknownPredictionRefusesNothing) {
  AdmissionInput input = Roomy();
  input.time_left = absl::Milliseconds(1);
  EXPECT_FALSE(CheckAdmission(input).has_value());
}

TEST(AdmissionTest, PredictionPastTheDeadlineSaysBoth) {
  AdmissionInput input = Roomy();
  input.prediction_error = 0;
  input.predicted_wait = absl::Seconds(12.5);
  input.time_left = absl::Seconds(12.5);
  EXPECT_FALSE(CheckAdmission(input).has_value());
  input.time_left = absl::Seconds(12);
  ExpectRefused(input, "deadline", absl::StatusCode::kDeadlineExceeded, {"predicted in 12.500 s", "is in 12.000 s"});
}

TEST(AdmissionTest, PredictionMustBePastTheDeadlineByMoreThanItsError) {
  AdmissionInput input = Roomy();
  input.predicted_wait = absl::Seconds(10);
  input.prediction_error = 0.25;
  input.time_left = absl::Seconds(7.5);
  EXPECT_FALSE(CheckAdmission(input).has_value());
  input.time_left = absl::Seconds(7.4);
  EXPECT_TRUE(CheckAdmission(input).has_value());
  input.prediction_error = 3;  // a model that is wrong by more than all of it refuses nothing
  EXPECT_FALSE(CheckAdmission(input).has_value());
}

}  // namespace
}  // namespace slimfill::scheduler
