#include "kvstore/api/circuit_breaker.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

using Pass = CircuitBreaker::Pass;
using Outcome = CircuitBreaker::Outcome;
using ::testing::ElementsAre;

class CircuitBreakerTest : public ::testing::Test {
 protected:
  void Call(Outcome outcome) { breaker_.Report(breaker_.TryEnter(), outcome); }
  void Trip() {
    for (int i = 0; i < 3; ++i) Call(Outcome::kFailure);
  }

  FakeClock clock_;
  std::vector<bool> changes_;
  CircuitBreaker breaker_{CircuitBreaker::Options{}, clock_, [this](bool closed) { changes_.push_back(closed); }};
};

TEST_F(CircuitBreakerTest, OpensAfterThreeFailuresInARow) {
  Call(Outcome::kFailure);
  Call(Outcome::kDeadlineMissed);
  EXPECT_TRUE(breaker_.closed());
  Call(Outcome::kFailure);
  EXPECT_FALSE(breaker_.closed());
  EXPECT_EQ(breaker_.TryEnter(), Pass::kRefused);
  EXPECT_THAT(changes_, ElementsAre(false));
}

TEST_F(CircuitBreakerTest, SuccessBreaksTheRow) {
  for (int i = 0; i < 20; ++i) {
    Call(Outcome::kFailure);
    Call(Outcome::kFailure);
    Call(Outcome::kSuccess);
  }
  EXPECT_TRUE(breaker_.closed());
}

TEST_F(CircuitBreakerTest, OpensWhenHalfOfTheRecentCallsMissTheirDeadlines) {
  for (int i = 0; i < 7; ++i) {
    Call(Outcome::kDeadlineMissed);
    Call(Outcome::kSuccess);
  }
  EXPECT_TRUE(breaker_.closed());
  Call(Outcome::kDeadlineMissed);
  EXPECT_FALSE(breaker_.closed());
}

TEST_F(CircuitBreakerTest, ForgetsOldMisses) {
  for (int i = 0; i < 100; ++i) Call(i % 3 == 0 ? Outcome::kDeadlineMissed : Outcome::kSuccess);
  EXPECT_TRUE(breaker_.closed());
}

TEST_F(CircuitBreakerTest, LetsOneProbeThroughAfterTheBackoffAndClosesWhenItSucceeds) {
  Trip();
  clock_.Advance(absl::Milliseconds(499));
  EXPECT_EQ(breaker_.TryEnter(), Pass::kRefused);
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_EQ(breaker_.TryEnter(), Pass::kProbe);
  EXPECT_EQ(breaker_.TryEnter(), Pass::kRefused) << "one probe at a time";
  EXPECT_FALSE(breaker_.closed());
  breaker_.Report(Pass::kProbe, Outcome::kSuccess);
  EXPECT_EQ(breaker_.TryEnter(), Pass::kCall);
  EXPECT_THAT(changes_, ElementsAre(false, true));
}

TEST_F(CircuitBreakerTest, ProbesFurtherAndFurtherApartUpToEightSeconds) {
  Trip();
  for (int half_seconds : {1, 2, 4, 8, 16, 16, 16}) {
    clock_.Advance(absl::Milliseconds(500) * half_seconds - absl::Nanoseconds(1));
    EXPECT_EQ(breaker_.TryEnter(), Pass::kRefused) << half_seconds;
    clock_.Advance(absl::Nanoseconds(1));
    EXPECT_EQ(breaker_.TryEnter(), Pass::kProbe) << half_seconds;
    breaker_.Report(Pass::kProbe, Outcome::kFailure);
  }
}

TEST_F(CircuitBreakerTest, BackoffStartsAnewAfterItWasClosed) {
  Trip();
  clock_.Advance(absl::Milliseconds(500));
  Call(Outcome::kFailure);
  clock_.Advance(absl::Seconds(1));
  Call(Outcome::kSuccess);
  Trip();
  clock_.Advance(absl::Milliseconds(500));
  EXPECT_EQ(breaker_.TryEnter(), Pass::kProbe);
}

TEST_F(CircuitBreakerTest, CallsFromBeforeTheOpeningDoNotCloseIt) {
  const Pass early = breaker_.TryEnter();
  Trip();
  breaker_.Report(early, Outcome::kSuccess);
  EXPECT_FALSE(breaker_.closed());
  clock_.Advance(absl::Milliseconds(500));
  EXPECT_EQ(breaker_.TryEnter(), Pass::kProbe);
  breaker_.Report(early, Outcome::kFailure);
  breaker_.Report(Pass::kProbe, Outcome::kSuccess);
  EXPECT_TRUE(breaker_.closed());
}

}  // namespace
}  // namespace slimfill::kvstore
