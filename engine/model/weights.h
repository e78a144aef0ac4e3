// The weights of a model as row sources: rows are dequantised on demand into f32, so a backend can pack them in any
// layout, in parallel, without a second full copy.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/config.h"
#include "engine/model/tensor_source.h"

namespace slimfill::engine {

// A matrix [rows, cols] (rows = output features), possibly several tensors stacked by rows (fused QKV, gate and up), in
// HF row order: a GGUF llama file's interleaved query and key rows are put back to half-split RoPE order here, so
// that one RoPE kernel serves every model. Borrows the file's mapping. Reading rows is thread safe.
class WeightMatrix {
 public:
  struct Part {
    const StoredTensor* tensor;
    // >0: rows of each head of this many rows are un-interleaved: HF row r of a head is file row (r % (d/2)) * 2 + r /
    // (d/2).
    int interleaved_head_dim = 0;
  };
  WeightMatrix() = default;
  explicit WeightMatrix(std::vector<Part> parts);

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  const std::vector<Part>& parts() const { return parts_; }
  // REQUIRES: 0 <= row < rows(), dst.size() == cols().
  void ReadRow(int64_t row, absl::Span<float> dst) const;
  // The row as the file stores it, for who dequantises elsewhere. REQUIRES: 0 <= row < rows().
  struct StoredRow {
    GgmlType type;
    absl::Span<const std::byte> bytes;
  };
  StoredRow FindStoredRow(int64_t row) const;
  // The first part's type, for information: the parts of a mixed file may differ.
  GgmlType type() const { return parts_.front().tensor->type; }

 private:
  std::vector<Part> parts_;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
};

struct LayerWeights {
  std::vector<float> attention_norm;  // [hidden]
  WeightMatrix qkv;                   // [(heads + 2 * kv_heads) * head_dim, hidden]: q rows, then k, then v
  std::vector<float> qkv_bias;        // same rows, in the same (HF) order, or empty
  std::vector<float> q_norm, k_norm;  // [head_dim] each, or empty: norms of every query and key head
  WeightMatrix attention_out;         // [hidden, heads * head_dim]
  std::vector<float> ffn_norm;        // [hidden]
  WeightMatrix gate_up;               // [2 * ffn, hidden]: gate rows, then up
  WeightMatrix ffn_down;              // [hidden, ffn]
};

struct ModelWeights {
  WeightMatrix embedding;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  std::vector<float> output_norm;  // [hidden]
  WeightMatrix output;             // [vocab, hidden]; the embedding when tied
};

// Finds and checks every tensor's presence and shape. The result borrows `source`.
absl::StatusOr<ModelWeights> ReadModelWeights(const TensorSource& source, const ModelConfig& config);

}  // namespace slimfill::engine
