// How much faster the first token comes than it would without pruning: two figures that are never mixed.
//   model       geometric mean, over the last finished requests, of dense-equivalent over actual TTFT. Requests that
//               were not pruned count as 1. Absent while the cost model is not trusted.
//   randomized  eligible requests are drawn at random to run dense; ratio of the geometric means of TTFT of the two
//   arms
//               within each prompt-length bucket, buckets weighted by their requests. Absent under 30 samples an arm.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>

#include "base/metrics.h"
#include "scheduler/prompt_bucket.h"

namespace slimfill::scheduler {

enum class Arm { kNone, kPruned, kDense };  // kNone: not part of the experiment

// A ratio with its 95 % interval.
struct RatioEstimate {
  double ratio = 1, low = 1, high = 1;
};

// The randomized comparison. Sums since start, of logarithms, so that both arms cover the same span of time and the
// interval is the normal one of a difference of means. Requests belong to the arm they were drawn for, whatever they
// then did (a fallback to dense does not leave the pruned arm). Not thread safe.
class ArmComparison {
 public:
  static constexpr int kMinSamples = 30;  // an arm, in buckets that have both

  void Record(Arm arm, int64_t prompt_tokens, double ttft_seconds);
  std::optional<RatioEstimate> Estimate() const;  // dense over pruned

 private:
  struct Samples {  // Welford's running mean and sum of squared deviations
    int64_t count = 0;
    double mean = 0, squares = 0;
    void Add(double value);
  };
  struct Bucket {
    Samples pruned, dense;
  };
  std::array<Bucket, kPromptBucketNames.size()> buckets_;
};

// Keeps the gauges. Not thread safe.
class SpeedupTracker {
 public:
  static constexpr size_t kWindow = 256;  // finished requests in the model's figure

  explicit SpeedupTracker(Metrics& metrics) : metrics_(metrics) {}

  // Only while the model is trusted; 1 for a request that was not pruned.
  void RecordModel(double dense_over_actual);
  void SetModelTrusted(bool trusted);
  void RecordArm(Arm arm, int64_t prompt_tokens, double ttft_seconds);

 private:
  void PublishModel();

  Metrics& metrics_;
  bool trusted_ = false;
  std::deque<double> log_ratios_;
  ArmComparison arms_;
};

}  // namespace slimfill::scheduler
