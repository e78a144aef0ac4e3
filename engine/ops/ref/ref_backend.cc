#include "engine/ops/ref/ref_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/status.h"
#include "engine/ops/host_buffer.h"

namespace slimfill::engine {
namespace {

class RefWeight : public PackedWeight {
 public:
  RefWeight(int64_t rows, int64_t cols) : PackedWeight(rows, cols), values_(rows * cols) {}
  int64_t bytes() const override { return static_cast<int64_t>(values_.size() * sizeof(float)); }
  float* row(int64_t row) { return values_.data() + row * cols_; }
  const float* row(int64_t row) const { return values_.data() + row * cols_; }

 private:
  std::vector<float> values_;  // [rows, cols]
};

const float* Row(const ConstMatrix& m, int64_t row) {
  SLIMFILL_CHECK(m.dtype == DType::kF32);
  return static_cast<const float*>(m.data) + row * m.stride;
}

float* Row(const Matrix& m, int64_t row) {
  SLIMFILL_CHECK(m.dtype == DType::kF32);
  return static_cast<float*>(m.data) + row * m.stride;
}

// Sixteen partial sums: what a compiler may turn into vector code without reordering the arithmetic.
float Dot(const float* a, const float* b, int64_t n) {
  float partial[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int j = 0; j < 16; ++j) partial[j] += a[i + j] * b[i + j];
  }
  float sum = 0;
  for (; i < n; ++i) sum += a[i] * b[i];
  for (float value : partial) sum += value;
  return sum;
}

// `out` may be `x`.
void NormRow(const float* x, const float* weight, int64_t n, float epsilon, float* out) {
  const float scale = 1.0f / std::sqrt(Dot(x, x, n) / static_cast<float>(n) + epsilon);
  for (int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

// Where a page keeps the key (or value) of a slot.
const float* Key(const KvBlock& block, const AttentionShape& shape, int kv_head, int slot) {
  return reinterpret_cast<const float*>(block.page) + (kv_head * 2 * kBlockTokens + slot) * shape.head_dim;
}
const float* Value(const KvBlock& block, const AttentionShape& shape, int kv_head, int slot) {
  return Key(block, shape, kv_head, slot) + kBlockTokens * shape.head_dim;
}

int KvHead(const AttentionShape& shape, int head) { return head / (shape.heads / shape.kv_heads); }

float Scale(const AttentionShape& shape) { return 1.0f / std::sqrt(static_cast<float>(shape.head_dim)); }

int32_t Position(const KvBlock& block, int slot) { return block.block * kBlockTokens + slot; }

void Rotate(float* x, const float* cos_sin, int head_dim) {
  const int half = head_dim / 2;
  for (int i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half];
    x[i] = a * cos_sin[i] - b * cos_sin[half + i];
    x[i + half] = b * cos_sin[i] + a * cos_sin[half + i];
  }
}

// Softmax in place; entries of -infinity become 0. A row of nothing but those stays 0.
void Softmax(std::vector<float>& scores) {
  float max = -std::numeric_limits<float>::infinity();
  for (float score : scores) max = std::max(max, score);
  double sum = 0;
  for (float& score : scores) {
    score = std::isinf(score) ? 0.0f : std::exp(score - max);
    sum += score;
  }
  if (sum == 0) return;
  for (float& score : scores) score = static_cast<float>(score / sum);
}

// One head of one row, over the keys at positions <= `position`.
void AttendRow(const float* q, int head, int32_t position, const AttentionShape& shape, KvLayerView kv,
               std::vector<float>& scores, float* out) {
  const int kv_head = KvHead(shape, head);
  scores.assign(kv.size() * kBlockTokens, -std::numeric_limits<float>::infinity());
  for (size_t b = 0; b < kv.size(); ++b) {
    for (int slot = 0; slot < kBlockTokens && Position(kv[b], slot) <= position; ++slot) {
      scores[b * kBlockTokens + slot] = Dot(q, Key(kv[b], shape, kv_head, slot), shape.head_dim) * Scale(shape);
    }
  }
  Softmax(scores);
  std::fill(out, out + shape.head_dim, 0.0f);
  for (size_t i = 0; i < scores.size(); ++i) {
    if (scores[i] == 0) continue;
    const float* v = Value(kv[i / kBlockTokens], shape, kv_head, static_cast<int>(i % kBlockTokens));
    for (int d = 0; d < shape.head_dim; ++d) out[d] += scores[i] * v[d];
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Buffer>> RefBackend::Allocate(int64_t bytes) { return AllocateHostBuffer(bytes); }

absl::StatusOr<std::unique_ptr<Buffer>> RefBackend::Upload(absl::Span<const float> values) {
  return UploadToHostBuffer(values);
}

int64_t RefBackend::KvPageBytes(const AttentionShape& shape) const {
  return static_cast<int64_t>(2 * kBlockTokens * sizeof(float)) * shape.kv_cols();
}

void RefBackend::ReadPage(const std::byte* page, absl::Span<std::byte> host) {
  std::memcpy(host.data(), page, host.size());
}

void RefBackend::WritePage(absl::Span<const std::byte> host, std::byte* page) {
  std::memcpy(page, host.data(), host.size());
}

void RefBackend::ZeroPage(std::byte* page, int64_t bytes) { std::memset(page, 0, bytes); }

absl::StatusOr<std::unique_ptr<PackedWeight>> RefBackend::PackWeight(const WeightMatrix& weight) {
  auto packed = std::make_unique<RefWeight>(weight.rows(), weight.cols());
  for (int64_t row = 0; row < weight.rows(); ++row) {
    weight.ReadRow(row, absl::MakeSpan(packed->row(row), weight.cols()));
  }
  return packed;
}

void RefBackend::EmbedRows(const WeightMatrix& table, absl::Span<const TokenId> tokens, Matrix out) {
  for (size_t i = 0; i < tokens.size(); ++i) table.ReadRow(tokens[i], absl::MakeSpan(Row(out, i), out.cols));
}

void RefBackend::RmsNorm(ConstMatrix x, const Buffer& weight, float epsilon, Matrix out) {
  const float* w = static_cast<const float*>(weight.data());
  for (int64_t i = 0; i < x.rows; ++i) NormRow(Row(x, i), w, x.cols, epsilon, Row(out, i));
}

void RefBackend::NormHeads(Matrix qkv, const Buffer& q_weight, const Buffer& k_weight, float epsilon,
                           const AttentionShape& shape) {
  for (int64_t i = 0; i < qkv.rows; ++i) {
    for (int head = 0; head < shape.heads + shape.kv_heads; ++head) {
      const Buffer& weight = head < shape.heads ? q_weight : k_weight;
      float* x = Row(qkv, i) + head * shape.head_dim;
      NormRow(x, static_cast<const float*>(weight.data()), shape.head_dim, epsilon, x);
    }
  }
}

void RefBackend::Gemm(ConstMatrix x, const PackedWeight& weight, const Buffer* bias, GemmMode mode, Matrix out) {
  const auto& w = static_cast<const RefWeight&>(weight);
  const float* b = bias == nullptr ? nullptr : static_cast<const float*>(bias->data());
  for (int64_t j = 0; j < w.rows(); ++j) {  // a weight row stays in cache over all rows of x
    for (int64_t i = 0; i < x.rows; ++i) {
      float& result = Row(out, i)[j];
      const float value = Dot(Row(x, i), w.row(j), w.cols()) + (b == nullptr ? 0.0f : b[j]);
      result = mode == GemmMode::kAccumulate ? result + value : value;
    }
  }
}

void RefBackend::SwiGluFfn(ConstMatrix x, const PackedWeight& gate_up, const PackedWeight& down, Matrix residual) {
  const int64_t ffn = down.cols();
  std::vector<float> hidden(x.rows * 2 * ffn);
  const Matrix both{hidden.data(), DType::kF32, x.rows, 2 * ffn, 2 * ffn};
  Gemm(x, gate_up, nullptr, GemmMode::kStore, both);
  for (int64_t i = 0; i < x.rows; ++i) {
    float* gate = Row(both, i);
    for (int64_t j = 0; j < ffn; ++j) gate[j] = gate[j] / (1.0f + std::exp(-gate[j])) * gate[ffn + j];
  }
  const ConstMatrix activated{hidden.data(), DType::kF32, x.rows, ffn, 2 * ffn};
  Gemm(activated, down, nullptr, GemmMode::kAccumulate, residual);
}

void RefBackend::RopeAppendKv(Matrix qkv, absl::Span<const int32_t> positions, const Buffer& cos_sin,
                              const AttentionShape& shape, KvLayerView kv) {
  for (size_t i = 0; i < positions.size(); ++i) {
    const float* angles = static_cast<const float*>(cos_sin.data()) + int64_t{positions[i]} * shape.head_dim;
    float* row = Row(qkv, i);
    for (int head = 0; head < shape.heads + shape.kv_heads; ++head) {
      Rotate(row + head * shape.head_dim, angles, shape.head_dim);
    }
    const int32_t block = positions[i] / kBlockTokens;
    const auto it = std::lower_bound(kv.begin(), kv.end(), block,
                                     [](const KvBlock& held, int32_t wanted) { return held.block < wanted; });
    SLIMFILL_CHECK(it != kv.end() && it->block == block);
    for (int head = 0; head < shape.kv_heads; ++head) {
      const float* k = row + shape.q_cols() + head * shape.head_dim;
      const size_t bytes = shape.head_dim * sizeof(float);
      std::memcpy(const_cast<float*>(Key(*it, shape, head, positions[i] % kBlockTokens)), k, bytes);
      std::memcpy(const_cast<float*>(Value(*it, shape, head, positions[i] % kBlockTokens)), k + shape.kv_cols(), bytes);
    }
  }
}

void RefBackend::Attention(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                           KvLayerView kv, Matrix out) {
  for (size_t i = 0; i < positions.size(); ++i) {
    for (int head = 0; head < shape.heads; ++head) {
      AttendRow(Row(q, i) + head * shape.head_dim, head, positions[i], shape, kv, scratch_,
                Row(out, i) + head * shape.head_dim);
    }
  }
}

void RefBackend::AttentionDecode(ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                                 absl::Span<const KvLayerView> kv, Matrix out) {
  for (size_t i = 0; i < positions.size(); ++i) {
    Attention(q.Rows(i, 1), positions.subspan(i, 1), shape, kv[i], out.Rows(i, 1));
  }
}

void RefBackend::GatherRows(ConstMatrix src, absl::Span<const int32_t> rows, Matrix dst) {
  for (size_t i = 0; i < rows.size(); ++i) std::memmove(Row(dst, i), Row(src, rows[i]), src.cols * sizeof(float));
}

void RefBackend::ReadRows(ConstMatrix src, absl::Span<float> host) {
  for (int64_t i = 0; i < src.rows; ++i) {
    std::memcpy(host.data() + i * src.cols, Row(src, i), src.cols * sizeof(float));
  }
}

void RefBackend::AttentionMass(const MassQuery& query, const AttentionShape& shape, KvLayerView kv,
                               absl::Span<float> out) {
  const size_t keys = kv.size() * kBlockTokens;
  const size_t units = keys / query.unit_tokens;
  std::fill(out.begin(), out.end(), 0.0f);
  for (size_t h = 0; h < query.heads.size(); ++h) {
    const int head = query.heads[h];
    for (size_t i = 0; i < query.positions.size(); ++i) {
      const float* q = query.q.data() + (i * shape.heads + head) * shape.head_dim;
      scratch_.assign(keys, -std::numeric_limits<float>::infinity());
      for (size_t key = 0; key < keys; ++key) {
        const size_t b = key / kBlockTokens;
        const int slot = static_cast<int>(key % kBlockTokens);
        const int32_t position = Position(kv[b], slot);
        if (position > query.positions[i] || position >= query.end_position) continue;
        if (!query.excluded.empty() && query.excluded[b] != 0) continue;
        scratch_[key] = Dot(q, Key(kv[b], shape, KvHead(shape, head), slot), shape.head_dim) * Scale(shape);
      }
      Softmax(scratch_);
      for (size_t unit = 0; unit < units; ++unit) {
        float mass = 0;
        for (int t = 0; t < query.unit_tokens; ++t) mass += scratch_[unit * query.unit_tokens + t];
        float& result = out[h * units + unit];
        result = query.mean ? result + mass / static_cast<float>(query.positions.size()) : std::max(result, mass);
      }
    }
  }
}

void RefBackend::UnitMeanKeys(int32_t end_position, const AttentionShape& shape, KvLayerView kv,
                              absl::Span<float> out) {
  std::fill(out.begin(), out.end(), 0.0f);
  for (size_t unit = 0; unit < kv.size() * kUnitsPerBlock; ++unit) {
    const KvBlock& block = kv[unit / kUnitsPerBlock];
    const int first = static_cast<int>(unit % kUnitsPerBlock) * kUnitTokens;
    const int count = std::clamp(end_position - Position(block, first), 0, kUnitTokens);
    for (int kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
      float* mean = out.data() + unit * shape.kv_cols() + kv_head * shape.head_dim;
      for (int t = 0; t < count; ++t) {
        const float* key = Key(block, shape, kv_head, first + t);
        for (int d = 0; d < shape.head_dim; ++d) mean[d] += key[d] / static_cast<float>(count);
      }
    }
  }
}

}  // namespace slimfill::engine
