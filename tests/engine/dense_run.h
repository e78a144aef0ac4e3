// A dense pass over one prompt on any backend, and decode after it, without an engine around it.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "engine/kv/layer_kv.h"
#include "engine/model/forward.h"
#include "engine/model/model.h"
#include "gtest/gtest.h"

namespace slimfill::engine {

class DenseRun {
 public:
  DenseRun(const Model& model, Backend& backend)
      : model_(model),
        backend_(backend),
        pool_(backend, metrics_, backend.KvPageBytes(model.shape()), 1 << 20),
        forward_(*Forward::Create(model, backend, kChunk)) {
    for (int i = 0; i < model.config().layers; ++i) kv_.emplace_back(pool_);
  }

  // Logits after the last of `tokens`, which follow those of earlier calls.
  std::vector<float> Logits(absl::Span<const TokenId> tokens) {
    const int64_t hidden_cols = model_.config().hidden;
    std::vector<float> logits(model_.config().vocab);
    for (size_t first = 0; first < tokens.size(); first += kChunk) {
      const absl::Span<const TokenId> chunk = tokens.subspan(first, kChunk);
      const int64_t rows = static_cast<int64_t>(chunk.size());
      std::vector<int32_t> positions;
      for (int64_t i = 0; i < rows; ++i) positions.push_back(static_cast<int32_t>(next_++));
      const auto buffer = *backend_.Allocate(rows * hidden_cols * 4);
      const Matrix hidden = buffer->As(DType::kF32, rows, hidden_cols);
      forward_->Embed(chunk, hidden);
      for (int layer = 0; layer < model_.config().layers; ++layer) {
        for (int block = positions.front() / kBlockTokens; block <= positions.back() / kBlockTokens; ++block) {
          EXPECT_TRUE(kv_[layer].Append(block).ok());
        }
        forward_->PrefillAttention(layer, positions, kv_[layer].view(), nullptr, hidden);
        forward_->Ffn(layer, hidden);
      }
      EXPECT_TRUE(forward_->Logits(hidden.Rows(rows - 1, 1), absl::MakeSpan(logits)).ok());
    }
    return logits;
  }

 private:
  static constexpr int64_t kChunk = 512;

  const Model& model_;
  Backend& backend_;
  Metrics metrics_;
  PagePool pool_;
  std::unique_ptr<Forward> forward_;
  std::vector<LayerKv> kv_;
  int64_t next_ = 0;
};

inline TokenId Argmax(const std::vector<float>& logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace slimfill::engine
