#include "engine/model/weights.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "engine/model/dequantize.h"

namespace slimfill::engine {
namespace {

// The file's row that holds HF row `row`, where each head's rows are interleaved (rotation pairs lie side by side).
int64_t InterleavedRow(int64_t row, int64_t head_dim) {
  const int64_t head = row / head_dim;
  const int64_t r = row % head_dim;
  const int64_t half = head_dim / 2;
  return head * head_dim + (r % half) * 2 + r / half;
}

// Finds the tensors of a model, checks their shapes, and remembers which ones it has handed out.
class TensorFinder {
 public:
  TensorFinder(const TensorSource& source, const ModelConfig& config)
      : source_(source),
        config_(config),
        interleaved_(config.architecture == Architecture::kLlama && source.names().llama_heads_interleaved) {}

  const TensorNames& names() const { return source_.names(); }
  bool interleaved() const { return interleaved_; }  // query and key rows
  int64_t q_rows() const { return int64_t{config_.heads} * config_.head_dim; }
  int64_t kv_rows() const { return int64_t{config_.kv_heads} * config_.head_dim; }

  // `shape`: columns first.
  absl::StatusOr<const StoredTensor*> Find(const std::string& name, const std::vector<int64_t>& shape) {
    const StoredTensor* tensor = source_.FindTensor(name);
    if (tensor == nullptr) {
      return Invalid("tensor \"", name, "\" is missing: use a complete ", ArchitectureName(config_.architecture),
                     " model file");
    }
    if (tensor->shape != shape) {
      return Invalid("tensor \"", name, "\" has the shape [", ShapeText(tensor->shape), "], the model's keys ask for [",
                     ShapeText(shape), "]");
    }
    found_.insert(name);
    return tensor;
  }

  absl::StatusOr<std::vector<float>> Vector(const std::string& name, int64_t size) {
    SLIMFILL_ASSIGN_OR_RETURN(const StoredTensor* tensor, Find(name, {size}));
    std::vector<float> values(size);
    DequantizeRow(tensor->type, tensor->bytes, absl::MakeSpan(values));
    return values;
  }

  // `heads`: the rows are query or key heads, which may be interleaved.
  absl::StatusOr<WeightMatrix::Part> Part(const std::string& name, int64_t rows, int64_t cols, bool heads = false) {
    SLIMFILL_ASSIGN_OR_RETURN(const StoredTensor* tensor, Find(name + ".weight", {cols, rows}));
    return WeightMatrix::Part{tensor, heads && interleaved_ ? config_.head_dim : 0};
  }

  absl::StatusOr<WeightMatrix> Matrix(const std::string& name, int64_t rows, int64_t cols) {
    SLIMFILL_ASSIGN_OR_RETURN(const WeightMatrix::Part part, Part(name, rows, cols));
    return WeightMatrix({part});
  }

  // A tensor that nobody asked for (a bias, a norm on queries) would change the model's answers.
  absl::Status CheckNoneLeft() const {
    for (const StoredTensor& tensor : source_.tensors()) {
      if (found_.count(tensor.name) != 0 || ChangesNothing(tensor.name)) continue;
      return Invalid("tensor \"", absl::CHexEscape(tensor.name), "\" is not part of a ",
                     ArchitectureName(config_.architecture), " model of ", config_.layers,
                     " layers: variants of the architecture are not supported");
    }
    return absl::OkStatus();
  }

 private:
  // What the configuration has taken already, or the model's own definition leaves unused: frequencies that old
  // checkpoints hold besides theta, and the output of a model that is said to use its embedding.
  bool ChangesNothing(const std::string& name) const {
    return name == "rope_freqs.weight" || absl::EndsWith(name, ".rotary_emb.inv_freq") ||
           (config_.tied_embeddings && name == absl::StrCat(names().output, ".weight"));
  }

  std::string ShapeText(std::vector<int64_t> shape) const {
    if (names().rows_first) std::reverse(shape.begin(), shape.end());
    return absl::StrJoin(shape, ", ");
  }

  template <typename... Parts>
  absl::Status Invalid(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(source_.name(), ": ", parts...));
  }

  const TensorSource& source_;
  const ModelConfig& config_;
  const bool interleaved_;
  std::set<std::string> found_;
};

// The q, k and v biases in one vector, query and key rows in HF order.
absl::StatusOr<std::vector<float>> ReadQkvBias(TensorFinder& finder, const ModelConfig& config,
                                               const std::string& prefix) {
  const auto read = [&](const char* part, int64_t rows) {
    return finder.Vector(absl::StrCat(prefix, part, ".bias"), rows);
  };
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<float> q, read(finder.names().q, finder.q_rows()));
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<float> k, read(finder.names().k, finder.kv_rows()));
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<float> v, read(finder.names().v, finder.kv_rows()));
  std::vector<float> bias;
  bias.reserve(finder.q_rows() + 2 * finder.kv_rows());
  for (const std::vector<float>* part : {&q, &k}) {
    for (size_t row = 0; row < part->size(); ++row) {
      bias.push_back((*part)[finder.interleaved() ? InterleavedRow(row, config.head_dim) : row]);
    }
  }
  bias.insert(bias.end(), v.begin(), v.end());
  return bias;
}

absl::StatusOr<LayerWeights> ReadLayer(TensorFinder& finder, const ModelConfig& config, int layer) {
  const TensorNames& names = finder.names();
  const std::string prefix = absl::StrCat(names.layer, layer, ".");
  const int64_t q_rows = finder.q_rows(), kv_rows = finder.kv_rows();
  const auto norm = [&](const char* part, int64_t size) {
    return finder.Vector(absl::StrCat(prefix, part, ".weight"), size);
  };
  LayerWeights weights;
  SLIMFILL_ASSIGN_OR_RETURN(weights.attention_norm, norm(names.attention_norm, config.hidden));
  SLIMFILL_ASSIGN_OR_RETURN(const auto q, finder.Part(prefix + names.q, q_rows, config.hidden, /*heads=*/true));
  SLIMFILL_ASSIGN_OR_RETURN(const auto k, finder.Part(prefix + names.k, kv_rows, config.hidden, /*heads=*/true));
  SLIMFILL_ASSIGN_OR_RETURN(const auto v, finder.Part(prefix + names.v, kv_rows, config.hidden));
  weights.qkv = WeightMatrix({q, k, v});
  if (config.qkv_bias) {
    SLIMFILL_ASSIGN_OR_RETURN(weights.qkv_bias, ReadQkvBias(finder, config, prefix));
  }
  if (config.qk_norm) {
    SLIMFILL_ASSIGN_OR_RETURN(weights.q_norm, norm(names.q_norm, config.head_dim));
    SLIMFILL_ASSIGN_OR_RETURN(weights.k_norm, norm(names.k_norm, config.head_dim));
  }
  SLIMFILL_ASSIGN_OR_RETURN(weights.attention_out, finder.Matrix(prefix + names.attention_out, config.hidden, q_rows));
  SLIMFILL_ASSIGN_OR_RETURN(weights.ffn_norm, norm(names.ffn_norm, config.hidden));
  SLIMFILL_ASSIGN_OR_RETURN(const auto gate, finder.Part(prefix + names.gate, config.ffn, config.hidden));
  SLIMFILL_ASSIGN_OR_RETURN(const auto up, finder.Part(prefix + names.up, config.ffn, config.hidden));
  weights.gate_up = WeightMatrix({gate, up});
  SLIMFILL_ASSIGN_OR_RETURN(weights.ffn_down, finder.Matrix(prefix + names.down, config.hidden, config.ffn));
  return weights;
}

}  // namespace

WeightMatrix::WeightMatrix(std::vector<Part> parts) : parts_(std::move(parts)) {
  SLIMFILL_CHECK(!parts_.empty());
  cols_ = parts_.front().tensor->cols();
  for (const Part& part : parts_) {
    SLIMFILL_CHECK(part.tensor->cols() == cols_);
    SLIMFILL_CHECK(part.interleaved_head_dim == 0 || part.tensor->rows() % part.interleaved_head_dim == 0);
    rows_ += part.tensor->rows();
  }
}

WeightMatrix::StoredRow WeightMatrix::FindStoredRow(int64_t row) const {
  SLIMFILL_CHECK(row >= 0 && row < rows_);
  auto part = parts_.begin();
  for (; row >= part->tensor->rows(); ++part) row -= part->tensor->rows();
  const StoredTensor& tensor = *part->tensor;
  if (part->interleaved_head_dim > 0) row = InterleavedRow(row, part->interleaved_head_dim);
  const size_t row_bytes = static_cast<size_t>(cols_ / GgmlBlockElements(tensor.type) * GgmlBlockBytes(tensor.type));
  return {tensor.type, tensor.bytes.subspan(row * row_bytes, row_bytes)};
}

void WeightMatrix::ReadRow(int64_t row, absl::Span<float> dst) const {
  SLIMFILL_CHECK(dst.size() == static_cast<size_t>(cols_));
  const StoredRow stored = FindStoredRow(row);
  DequantizeRow(stored.type, stored.bytes, dst);
}

absl::StatusOr<ModelWeights> ReadModelWeights(const TensorSource& source, const ModelConfig& config) {
  TensorFinder finder(source, config);
  const TensorNames& names = source.names();
  ModelWeights weights;
  SLIMFILL_ASSIGN_OR_RETURN(weights.embedding, finder.Matrix(names.embedding, config.vocab, config.hidden));
  for (int layer = 0; layer < config.layers; ++layer) {
    SLIMFILL_ASSIGN_OR_RETURN(LayerWeights layer_weights, ReadLayer(finder, config, layer));
    weights.layers.push_back(std::move(layer_weights));
  }
  SLIMFILL_ASSIGN_OR_RETURN(weights.output_norm,
                            finder.Vector(absl::StrCat(names.output_norm, ".weight"), config.hidden));
  weights.output = weights.embedding;
  if (!config.tied_embeddings) {
    SLIMFILL_ASSIGN_OR_RETURN(weights.output, finder.Matrix(names.output, config.vocab, config.hidden));
  }
  SLIMFILL_RETURN_IF_ERROR(finder.CheckNoneLeft());
  return weights;
}

}  // namespace slimfill::engine
