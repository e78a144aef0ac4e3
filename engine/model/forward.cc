#include "engine/model/forward.h"

#include "base/status.h"

namespace slimfill::engine {

Forward::Forward(const Model& model, Backend& backend, int64_t max_rows)
    : model_(model), backend_(backend), max_rows_(max_rows) {}

absl::StatusOr<std::unique_ptr<Forward>> Forward::Create(const Model& model, Backend& backend, int64_t max_rows) {
  std::unique_ptr<Forward> forward(new Forward(model, backend, max_rows));
  const int64_t element = DTypeBytes(backend.activation_dtype());
  const auto allocate = [&](int64_t cols) { return backend.Allocate(max_rows * cols * element); };
  SLIMFILL_ASSIGN_OR_RETURN(forward->normed_, allocate(model.config().hidden));
  SLIMFILL_ASSIGN_OR_RETURN(forward->qkv_, allocate(model.shape().qkv_cols()));
  SLIMFILL_ASSIGN_OR_RETURN(forward->attention_, allocate(model.shape().q_cols()));
  return forward;
}

void Forward::Embed(absl::Span<const TokenId> tokens, Matrix hidden) {
  backend_.EmbedRows(model_.embedding(), tokens, hidden);
}

Matrix Forward::NormedQkv(int layer, ConstMatrix hidden) {
  SLIMFILL_CHECK(hidden.rows <= max_rows_);
  const PackedLayer& weights = model_.layer(layer);
  const DType act = backend_.activation_dtype();
  const Matrix normed = normed_->As(act, hidden.rows, model_.config().hidden);
  backend_.RmsNorm(hidden, *weights.attention_norm, model_.config().rms_epsilon, normed);
  const Matrix qkv = qkv_->As(act, hidden.rows, model_.shape().qkv_cols());
  backend_.Gemm(normed, *weights.qkv, weights.qkv_bias.get(), GemmMode::kStore, qkv);
  if (weights.q_norm != nullptr) {
    backend_.NormHeads(qkv, *weights.q_norm, *weights.k_norm, model_.config().rms_epsilon, model_.shape());
  }
  return qkv;
}

void Forward::ProjectAttention(int layer, Matrix attention, Matrix hidden) {
  backend_.Gemm(attention, *model_.layer(layer).attention_out, nullptr, GemmMode::kAccumulate, hidden);
}

namespace {

ConstMatrix QueryColumns(ConstMatrix qkv, const AttentionShape& shape) {
  qkv.cols = shape.q_cols();
  return qkv;
}

}  // namespace

void Forward::PrefillAttention(int layer, absl::Span<const int32_t> positions, KvLayerView kv, const QueryTap& tap,
                               Matrix hidden) {
  PrefillAttentionTail(layer, positions, kv, tap, /*first_row=*/0, hidden);
}

void Forward::PrefillAttentionTail(int layer, absl::Span<const int32_t> positions, KvLayerView kv, const QueryTap& tap,
                                   int64_t first_row, Matrix hidden) {
  const AttentionShape& shape = model_.shape();
  const Matrix qkv = NormedQkv(layer, hidden);
  backend_.RopeAppendKv(qkv, positions, model_.cos_sin(), shape, kv);
  const ConstMatrix q = QueryColumns(qkv, shape);
  if (tap) tap(layer, q);
  const int64_t rows = hidden.rows - first_row;
  if (rows == 0) return;
  const Matrix attention = attention_->As(backend_.activation_dtype(), rows, shape.q_cols());
  backend_.Attention(q.Rows(first_row, rows), positions.subspan(first_row), shape, kv, attention);
  ProjectAttention(layer, attention, hidden.Rows(first_row, rows));
}

void Forward::DecodeAttention(int layer, absl::Span<const int32_t> positions, absl::Span<const KvLayerView> kv,
                              const QueryTap& tap, Matrix hidden) {
  const AttentionShape& shape = model_.shape();
  const Matrix qkv = NormedQkv(layer, hidden);
  backend_.RopeAppendKvDecode(qkv, positions, model_.cos_sin(), shape, kv);
  const ConstMatrix q = QueryColumns(qkv, shape);
  if (tap) tap(layer, q);
  const Matrix attention = attention_->As(backend_.activation_dtype(), hidden.rows, shape.q_cols());
  backend_.AttentionDecode(q, positions, shape, kv, attention);
  ProjectAttention(layer, attention, hidden);
}

void Forward::Ffn(int layer, Matrix hidden) {
  const PackedLayer& weights = model_.layer(layer);
  const Matrix normed = normed_->As(backend_.activation_dtype(), hidden.rows, model_.config().hidden);
  backend_.RmsNorm(hidden, *weights.ffn_norm, model_.config().rms_epsilon, normed);
  backend_.SwiGluFfn(normed, *weights.gate_up, *weights.ffn_down, hidden);
}

absl::StatusOr<Matrix> Forward::DeviceLogits(ConstMatrix hidden) {
  const int64_t vocab = model_.config().vocab;
  const int64_t bytes = hidden.rows * vocab * DTypeBytes(DType::kF32);
  if (logits_ == nullptr || logits_->bytes() < bytes) {
    SLIMFILL_ASSIGN_OR_RETURN(logits_, backend_.Allocate(bytes));
  }
  const Matrix normed = normed_->As(backend_.activation_dtype(), hidden.rows, model_.config().hidden);
  backend_.RmsNorm(hidden, model_.output_norm(), model_.config().rms_epsilon, normed);
  const Matrix out = logits_->As(DType::kF32, hidden.rows, vocab);
  backend_.Gemm(normed, model_.output(), nullptr, GemmMode::kStore, out);
  return out;
}

absl::Status Forward::Logits(ConstMatrix hidden, absl::Span<float> logits) {
  SLIMFILL_CHECK(static_cast<int64_t>(logits.size()) == hidden.rows * model_.config().vocab);
  SLIMFILL_ASSIGN_OR_RETURN(const Matrix out, DeviceLogits(hidden));
  backend_.ReadRows(out, logits);
  return backend_.Health();
}

}  // namespace slimfill::engine
