#include "engine/model/weights.h"

#include <set>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
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
  TensorFinder(const GgufFile& file, const ModelConfig& config) : file_(file), config_(config) {}

  absl::StatusOr<const GgufTensor*> Find(const std::string& name, const std::vector<int64_t>& shape) {
    const GgufTensor* tensor = file_.FindTensor(name);
    if (tensor == nullptr) {
      return Invalid("tensor \"", name, "\" is missing: use a complete ", ArchitectureName(config_.architecture),
                     " model file");
    }
    if (tensor->shape != shape) {
      return Invalid("tensor \"", name, "\" has the shape [", absl::StrJoin(tensor->shape, ", "),
                     "], the model's keys ask for [", absl::StrJoin(shape, ", "), "]");
    }
    found_.insert(name);
    return tensor;
  }

  absl::StatusOr<std::vector<float>> Vector(const std::string& name, int64_t size) {
    SLIMFILL_ASSIGN_OR_RETURN(const GgufTensor* tensor, Find(name, {size}));
    std::vector<float> values(size);
    DequantizeRow(tensor->type, tensor->bytes, absl::MakeSpan(values));
    return values;
  }

  // `interleaved`: the rows are a llama file's query or key heads.
  absl::StatusOr<WeightMatrix::Part> Part(const std::string& name, int64_t rows, int64_t cols,
                                          bool interleaved = false) {
    SLIMFILL_ASSIGN_OR_RETURN(const GgufTensor* tensor, Find(name, {cols, rows}));
    return WeightMatrix::Part{tensor, interleaved ? config_.head_dim : 0};
  }

  absl::StatusOr<WeightMatrix> Matrix(const std::string& name, int64_t rows, int64_t cols) {
    SLIMFILL_ASSIGN_OR_RETURN(const WeightMatrix::Part part, Part(name, rows, cols));
    return WeightMatrix({part});
  }

  // A tensor that nobody asked for (a bias, a norm on queries) would change the model's answers.
  absl::Status CheckNoneLeft() const {
    for (const GgufTensor& tensor : file_.tensors()) {
      if (tensor.name == "rope_freqs.weight" || found_.count(tensor.name) != 0) continue;
      return Invalid("tensor \"", absl::CHexEscape(tensor.name), "\" is not part of a ",
                     ArchitectureName(config_.architecture), " model of ", config_.layers,
                     " layers: variants of the architecture are not supported");
    }
    return absl::OkStatus();
  }

 private:
  template <typename... Parts>
  absl::Status Invalid(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(file_.name(), ": ", parts...));
  }

  const GgufFile& file_;
  const ModelConfig& config_;
  std::set<std::string> found_;
};

// The q, k and v biases in one vector, query and key rows in HF order.
absl::StatusOr<std::vector<float>> ReadQkvBias(TensorFinder& finder, const ModelConfig& config,
                                               const std::string& prefix) {
  const int64_t q_rows = int64_t{config.heads} * config.head_dim;
  const int64_t kv_rows = int64_t{config.kv_heads} * config.head_dim;
  const bool interleaved = config.architecture == Architecture::kLlama;
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<float> q, finder.Vector(prefix + "attn_q.bias", q_rows));
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<float> k, finder.Vector(prefix + "attn_k.bias", kv_rows));
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<float> v, finder.Vector(prefix + "attn_v.bias", kv_rows));
  std::vector<float> bias;
  bias.reserve(q_rows + 2 * kv_rows);
  for (const std::vector<float>* part : {&q, &k}) {
    for (size_t row = 0; row < part->size(); ++row) {
      bias.push_back((*part)[interleaved ? InterleavedRow(row, config.head_dim) : row]);
    }
  }
  bias.insert(bias.end(), v.begin(), v.end());
  return bias;
}

absl::StatusOr<LayerWeights> ReadLayer(TensorFinder& finder, const ModelConfig& config, int layer) {
  const std::string prefix = absl::StrCat("blk.", layer, ".");
  const int64_t q_rows = int64_t{config.heads} * config.head_dim;
  const int64_t kv_rows = int64_t{config.kv_heads} * config.head_dim;
  const bool interleaved = config.architecture == Architecture::kLlama;
  LayerWeights weights;
  SLIMFILL_ASSIGN_OR_RETURN(weights.attention_norm, finder.Vector(prefix + "attn_norm.weight", config.hidden));
  SLIMFILL_ASSIGN_OR_RETURN(const auto q, finder.Part(prefix + "attn_q.weight", q_rows, config.hidden, interleaved));
  SLIMFILL_ASSIGN_OR_RETURN(const auto k, finder.Part(prefix + "attn_k.weight", kv_rows, config.hidden, interleaved));
  SLIMFILL_ASSIGN_OR_RETURN(const auto v, finder.Part(prefix + "attn_v.weight", kv_rows, config.hidden));
  weights.qkv = WeightMatrix({q, k, v});
  if (config.qkv_bias) {
    SLIMFILL_ASSIGN_OR_RETURN(weights.qkv_bias, ReadQkvBias(finder, config, prefix));
  }
  SLIMFILL_ASSIGN_OR_RETURN(weights.attention_out, finder.Matrix(prefix + "attn_output.weight", config.hidden, q_rows));
  SLIMFILL_ASSIGN_OR_RETURN(weights.ffn_norm, finder.Vector(prefix + "ffn_norm.weight", config.hidden));
  SLIMFILL_ASSIGN_OR_RETURN(const auto gate, finder.Part(prefix + "ffn_gate.weight", config.ffn, config.hidden));
  SLIMFILL_ASSIGN_OR_RETURN(const auto up, finder.Part(prefix + "ffn_up.weight", config.ffn, config.hidden));
  weights.gate_up = WeightMatrix({gate, up});
  SLIMFILL_ASSIGN_OR_RETURN(weights.ffn_down, finder.Matrix(prefix + "ffn_down.weight", config.hidden, config.ffn));
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

void WeightMatrix::ReadRow(int64_t row, absl::Span<float> dst) const {
  SLIMFILL_CHECK(row >= 0 && row < rows_ && dst.size() == static_cast<size_t>(cols_));
  auto part = parts_.begin();
  for (; row >= part->tensor->rows(); ++part) row -= part->tensor->rows();
  const GgufTensor& tensor = *part->tensor;
  if (part->interleaved_head_dim > 0) row = InterleavedRow(row, part->interleaved_head_dim);
  const size_t row_bytes = static_cast<size_t>(cols_ / GgmlBlockElements(tensor.type) * GgmlBlockBytes(tensor.type));
  DequantizeRow(tensor.type, tensor.bytes.subspan(row * row_bytes, row_bytes), dst);
}

absl::StatusOr<ModelWeights> ReadModelWeights(const GgufFile& file, const ModelConfig& config) {
  TensorFinder finder(file, config);
  ModelWeights weights;
  SLIMFILL_ASSIGN_OR_RETURN(weights.embedding, finder.Matrix("token_embd.weight", config.vocab, config.hidden));
  for (int layer = 0; layer < config.layers; ++layer) {
    SLIMFILL_ASSIGN_OR_RETURN(LayerWeights layer_weights, ReadLayer(finder, config, layer));
    weights.layers.push_back(std::move(layer_weights));
  }
  SLIMFILL_ASSIGN_OR_RETURN(weights.output_norm, finder.Vector("output_norm.weight", config.hidden));
  weights.output = weights.embedding;
  if (!config.tied_embeddings) {
    SLIMFILL_ASSIGN_OR_RETURN(weights.output, finder.Matrix("output.weight", config.vocab, config.hidden));
  }
  SLIMFILL_RETURN_IF_ERROR(finder.CheckNoneLeft());
  return weights;
}

}  // namespace slimfill::engine
