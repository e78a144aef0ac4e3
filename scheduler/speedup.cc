#include "scheduler/speedup.h"

#include <cmath>
#include <numeric>

#include "base/metric_names.h"

namespace slimfill::scheduler {

void ArmComparison::Samples::Add(double value) {
  ++count;
  const double delta = value - mean;
  mean += delta / static_cast<double>(count);
  squares += delta * (value - mean);
}

void ArmComparison::Record(Arm arm, int64_t prompt_tokens, double ttft_seconds) {
  if (arm == Arm::kNone || !(ttft_seconds > 0)) return;
  Bucket& bucket = buckets_[PromptBucket(prompt_tokens)];
  (arm == Arm::kDense ? bucket.dense : bucket.pruned).Add(std::log(ttft_seconds));
}

std::optional<RatioEstimate> ArmComparison::Estimate() const {
  // Variances are pooled over the buckets of an arm: a bucket with a single sample has none of its own.
  int64_t pruned = 0, dense = 0, buckets = 0;
  double pruned_squares = 0, dense_squares = 0;
  for (const Bucket& bucket : buckets_) {
    if (bucket.pruned.count == 0 || bucket.dense.count == 0) continue;
    ++buckets;
    pruned += bucket.pruned.count;
    dense += bucket.dense.count;
    pruned_squares += bucket.pruned.squares;
    dense_squares += bucket.dense.squares;
  }
  if (pruned < kMinSamples || dense < kMinSamples) return std::nullopt;

  const double pruned_variance = pruned_squares / static_cast<double>(pruned - buckets);
  const double dense_variance = dense_squares / static_cast<double>(dense - buckets);
  double log_ratio = 0, variance = 0;
  for (const Bucket& bucket : buckets_) {
    if (bucket.pruned.count == 0 || bucket.dense.count == 0) continue;
    const double pruned_count = static_cast<double>(bucket.pruned.count);
    const double dense_count = static_cast<double>(bucket.dense.count);
    const double weight = (pruned_count + dense_count) / static_cast<double>(pruned + dense);
    log_ratio += weight * (bucket.dense.mean - bucket.pruned.mean);
    variance += weight * weight * (pruned_variance / pruned_count + dense_variance / dense_count);
  }
  const double half_width = 1.96 * std::sqrt(variance);
  return RatioEstimate{std::exp(log_ratio), std::exp(log_ratio - half_width), std::exp(log_ratio + half_width)};
}

void SpeedupTracker::RecordModel(double dense_over_actual) {
  if (!trusted_ || !(dense_over_actual > 0)) return;
  log_ratios_.push_back(std::log(dense_over_actual));
  if (log_ratios_.size() > kWindow) log_ratios_.pop_front();
  PublishModel();
}

void SpeedupTracker::SetModelTrusted(bool trusted) {
  if (trusted == trusted_) return;
  trusted_ = trusted;
  PublishModel();
}

void SpeedupTracker::PublishModel() {
  if (!trusted_ || log_ratios_.empty()) {
    metrics_.Remove(metric::kSpeedup, {"model"});
    return;
  }
  const double sum = std::accumulate(log_ratios_.begin(), log_ratios_.end(), 0.0);
  metrics_.Set(metric::kSpeedup, std::exp(sum / static_cast<double>(log_ratios_.size())), {"model"});
}

void SpeedupTracker::RecordArm(Arm arm, int64_t prompt_tokens, double ttft_seconds) {
  if (arm == Arm::kNone) return;
  arms_.Record(arm, prompt_tokens, ttft_seconds);
  const std::optional<RatioEstimate> estimate = arms_.Estimate();
  if (!estimate.has_value()) return;
  metrics_.Set(metric::kSpeedup, estimate->ratio, {"randomized"});
  metrics_.Set(metric::kSpeedupLow, estimate->low, {"randomized"});
  metrics_.Set(metric::kSpeedupHigh, estimate->high, {"randomized"});
}

}  // namespace slimfill::scheduler
