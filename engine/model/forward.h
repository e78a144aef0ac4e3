// The forward pass of a Llama-style decoder, in the pieces that pruned prefill is made of: attention half and FFN half
// of a layer, on any set of rows with explicit positions.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/model/model.h"
#include "engine/ops/backend.h"

namespace slimfill::engine {

// Sees the post-RoPE queries of a layer's rows: q act [rows, q_cols].
using QueryTap = std::function<void(int layer, ConstMatrix q)>;

// Holds the activations of one chunk at a time. Engine thread only.
class Forward {
 public:
  // Borrows both. `max_rows`: the most rows of any call.
  static absl::StatusOr<std::unique_ptr<Forward>> Create(const Model& model, Backend& backend, int64_t max_rows);

  int64_t max_rows() const { return max_rows_; }

  // hidden f32 [tokens, hidden]
  void Embed(absl::Span<const TokenId> tokens, Matrix hidden);

  // hidden += Wo . causal_attention(RoPE(qkv(norm(hidden)))), query and key heads normalised before RoPE where the
  // model does so, keys and values appended to `kv` (whose blocks must cover the positions). `tap` may be null.
  void PrefillAttention(int layer, absl::Span<const int32_t> positions, KvLayerView kv, const QueryTap& tap,
                        Matrix hidden);
  // The same for a chunk of which only the rows from `first_row` on are needed afterwards (the last layer needs just
  // the last token): the others' keys and values are appended, their hidden rows are left as they are.
  void PrefillAttentionTail(int layer, absl::Span<const int32_t> positions, KvLayerView kv, const QueryTap& tap,
                            int64_t first_row, Matrix hidden);
  // Row i belongs to a sequence of its own, with keys kv[i]; its key and value are appended there.
  void DecodeAttention(int layer, absl::Span<const int32_t> positions, absl::Span<const KvLayerView> kv,
                       const QueryTap& tap, Matrix hidden);

  // hidden += FFN(norm(hidden))
  void Ffn(int layer, Matrix hidden);

  // Logits of the rows: f32 [rows, vocab] on the host. RESOURCE_EXHAUSTED without memory for them.
  absl::Status Logits(ConstMatrix hidden, absl::Span<float> logits);
  // The same where the backend has them, until the next call.
  absl::StatusOr<Matrix> DeviceLogits(ConstMatrix hidden);

 private:
  Forward(const Model& model, Backend& backend, int64_t max_rows);
  Matrix NormedQkv(int layer, ConstMatrix hidden);
  void ProjectAttention(int layer, Matrix attention, Matrix hidden);

  const Model& model_;
  Backend& backend_;
  const int64_t max_rows_;
  std::unique_ptr<Buffer> normed_;     // act [max_rows, hidden]
  std::unique_ptr<Buffer> qkv_;        // act [max_rows, qkv_cols]
  std::unique_ptr<Buffer> attention_;  // act [max_rows, q_cols]
  std::unique_ptr<Buffer> logits_;     // f32 [rows, vocab], grown on demand
};

}  // namespace slimfill::engine
