#include "engine/unit_keys.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace slimfill::engine {
UnitKeys::UnitKeys(std::vector<int32_t> blocks, int32_t end_position, const AttentionShape& shape, KvLayerView view,
                   Backend& backend)
    : blocks_(std::move(blocks)), end_position_(end_position), shape_(shape) {
  means_.resize(blocks_.size() * kUnitsPerBlock * shape.kv_cols());
  backend.UnitMeanKeys(end_position, shape, view, absl::MakeSpan(means_));
}

int UnitKeys::UnitTokens(int64_t unit) const {
  const int64_t begin = int64_t{blocks_[unit / kUnitsPerBlock]} * kBlockTokens + (unit % kUnitsPerBlock) * kUnitTokens;
  return static_cast<int>(std::clamp<int64_t>(end_position_ - begin, 0, kUnitTokens));
}

float UnitKeys::Dot(absl::Span<const float> q, int head, int64_t unit) const {
  const int kv_head = head / (shape_.heads / shape_.kv_heads);
  const float* a = q.data() + head * shape_.head_dim;
  const float* b = means_.data() + unit * shape_.kv_cols() + kv_head * shape_.head_dim;
  float sum = 0;
  for (int i = 0; i < shape_.head_dim; ++i) sum += a[i] * b[i];
  return sum;
}

std::vector<float> UnitKeys::PaperScores(absl::Span<const float> q, bool absolute) const {
  std::vector<float> scores(blocks_.size(), 0.0f);
  for (size_t block = 0; block < blocks_.size(); ++block) {
    float best = -std::numeric_limits<float>::infinity();
    for (int i = 0; i < kUnitsPerBlock; ++i) {
      const int64_t unit = static_cast<int64_t>(block) * kUnitsPerBlock + i;
      if (UnitTokens(unit) == 0) continue;
      float sum = 0;
      for (int head = 0; head < shape_.heads; ++head) {
        const float dot = Dot(q, head, unit);
        sum += absolute ? std::abs(dot) : dot;
      }
      best = std::max(best, sum / static_cast<float>(shape_.heads));
    }
    scores[block] = best;
  }
  return scores;
}

std::vector<float> UnitKeys::EstimatedMass(absl::Span<const float> q, absl::Span<const int> heads) const {
  const int64_t units = static_cast<int64_t>(blocks_.size()) * kUnitsPerBlock;
  const float scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim));
  std::vector<float> mass(heads.size() * units, 0.0f);
  for (size_t h = 0; h < heads.size(); ++h) {
    float* row = mass.data() + h * units;
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t unit = 0; unit < units; ++unit) {
      if (UnitTokens(unit) == 0) continue;
      row[unit] = Dot(q, heads[h], unit) * scale;
      largest = std::max(largest, row[unit]);
    }
    double sum = 0;
    for (int64_t unit = 0; unit < units; ++unit) {
      const int tokens = UnitTokens(unit);
      row[unit] = tokens == 0 ? 0 : static_cast<float>(tokens) * std::exp(row[unit] - largest);
      sum += row[unit];
    }
    if (sum == 0) continue;
    for (int64_t unit = 0; unit < units; ++unit) row[unit] = static_cast<float>(row[unit] / sum);
  }
  return mass;
}

}  // namespace slimfill::engine
