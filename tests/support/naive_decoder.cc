#include "tests/support/naive_decoder.h"

#include <algorithm>
#include <cmath>

namespace slimfill::testing {
namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

Row Norm(const Row& x, const std::vector<float>& weight, double epsilon) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + epsilon);
  Row out(x.size());
  for (size_t i = 0; i < x.size(); ++i) out[i] = x[i] * scale * weight[i];
  return out;
}

class Dense {  // a matrix read once
 public:
  explicit Dense(const engine::WeightMatrix& matrix) : cols_(matrix.cols()), values_(matrix.rows() * matrix.cols()) {
    for (int64_t row = 0; row < matrix.rows(); ++row) {
      matrix.ReadRow(row, absl::MakeSpan(values_).subspan(row * cols_, cols_));
    }
  }
  Row operator*(const Row& x) const {
    Row out(values_.size() / cols_, 0.0);
    for (size_t row = 0; row < out.size(); ++row) {
      for (int64_t i = 0; i < cols_; ++i) out[row] += double{values_[row * cols_ + i]} * x[i];
    }
    return out;
  }
  Row RowAt(int64_t row) const { return {values_.begin() + row * cols_, values_.begin() + (row + 1) * cols_}; }

 private:
  int64_t cols_;
  std::vector<float> values_;
};

void Add(const Row& from, Row& to) {
  for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
}

void NormHead(const std::vector<float>& weight, double epsilon, double* head) {
  const Row normed = Norm(Row(head, head + weight.size()), weight, epsilon);
  std::copy(normed.begin(), normed.end(), head);
}

// Half-split RoPE of one head, in place.
void Rotate(const engine::ModelConfig& config, int64_t position, double* head) {
  const int half = config.head_dim / 2;
  for (int i = 0; i < half; ++i) {
    double frequency = std::pow(double{config.rope_theta}, -2.0 * i / config.head_dim);
    if (!config.rope_frequency_divisors.empty()) frequency /= config.rope_frequency_divisors[i];
    const double c = std::cos(position * frequency), s = std::sin(position * frequency);
    const double a = head[i], b = head[i + half];
    head[i] = a * c - b * s;
    head[i + half] = b * c + a * s;
  }
}

Row Attend(const engine::ModelConfig& config, const Rows& qkv, size_t query) {
  const int d = config.head_dim, group = config.heads / config.kv_heads;
  const int k_begin = config.heads * d, v_begin = k_begin + config.kv_heads * d;
  Row out(config.heads * d, 0.0);
  for (int head = 0; head < config.heads; ++head) {
    const int kv_head = head / group;
    Row weights(query + 1);
    double largest = -1e300, sum = 0;
    for (size_t key = 0; key <= query; ++key) {
      double dot = 0;
      for (int i = 0; i < d; ++i) dot += qkv[query][head * d + i] * qkv[key][k_begin + kv_head * d + i];
      weights[key] = dot / std::sqrt(double(d));
      largest = std::max(largest, weights[key]);
    }
    for (double& weight : weights) sum += weight = std::exp(weight - largest);
    for (size_t key = 0; key <= query; ++key) {
      for (int i = 0; i < d; ++i) {
        out[head * d + i] += weights[key] / sum * qkv[key][v_begin + kv_head * d + i];
      }
    }
  }
  return out;
}

}  // namespace

std::vector<double> NaiveLogprobs(const engine::ModelConfig& config, const engine::ModelWeights& weights,
                                  absl::Span<const engine::TokenId> tokens,
                                  const std::map<int, std::vector<int32_t>>& kept_blocks) {
  const Dense embedding(weights.embedding);
  Rows hidden;
  std::vector<int64_t> positions;
  for (const engine::TokenId token : tokens) {
    positions.push_back(static_cast<int64_t>(positions.size()));
    hidden.push_back(embedding.RowAt(token));
  }
  for (int index = 0; index < config.layers; ++index) {
    const engine::LayerWeights& layer = weights.layers[index];
    const Dense qkv_weight(layer.qkv), out_weight(layer.attention_out), gate_up(layer.gate_up), down(layer.ffn_down);
    Rows qkv;
    for (size_t i = 0; i < hidden.size(); ++i) {
      Row row = qkv_weight * Norm(hidden[i], layer.attention_norm, config.rms_epsilon);
      if (!layer.qkv_bias.empty()) Add(Row(layer.qkv_bias.begin(), layer.qkv_bias.end()), row);
      for (int head = 0; head < config.heads + config.kv_heads; ++head) {
        if (config.qk_norm) {
          NormHead(head < config.heads ? layer.q_norm : layer.k_norm, config.rms_epsilon,
                   row.data() + head * config.head_dim);
        }
        Rotate(config, positions[i], row.data() + head * config.head_dim);
      }
      qkv.push_back(std::move(row));
    }
    for (size_t i = 0; i < hidden.size(); ++i) Add(out_weight * Attend(config, qkv, i), hidden[i]);
    if (const auto kept = kept_blocks.find(index); kept != kept_blocks.end()) {
      Rows rows;
      std::vector<int64_t> row_positions;
      for (size_t i = 0; i < hidden.size(); ++i) {
        if (!std::binary_search(kept->second.begin(), kept->second.end(), positions[i] / 64)) continue;
        rows.push_back(hidden[i]);
        row_positions.push_back(positions[i]);
      }
      hidden = std::move(rows);
      positions = std::move(row_positions);
    }
    for (Row& row : hidden) {
      const Row both = gate_up * Norm(row, layer.ffn_norm, config.rms_epsilon);
      Row inner(config.ffn);
      for (int i = 0; i < config.ffn; ++i) inner[i] = both[i] / (1 + std::exp(-both[i])) * both[config.ffn + i];
      Add(down * inner, row);
    }
  }
  Row logits = Dense(weights.output) * Norm(hidden.back(), weights.output_norm, config.rms_epsilon);
  double sum = 0;
  const double largest = *std::max_element(logits.begin(), logits.end());
  for (const double logit : logits) sum += std::exp(logit - largest);
  for (double& logit : logits) logit -= largest + std::log(sum);
  return logits;
}

}  // namespace slimfill::testing
