// What backends share that do not know better.
#include "engine/ops/backend.h"

#include <cmath>

namespace slimfill::engine {

std::unique_ptr<PendingRead> Backend::BeginRead(absl::Span<const absl::Span<const std::byte>> sources,
                                                absl::Span<std::byte> host) {
  for (const absl::Span<const std::byte> source : sources) {
    ReadPage(source.data(), host.first(source.size()));
    host.remove_prefix(source.size());
  }
  return nullptr;
}

void Backend::RopeAppendKvDecode(Matrix qkv, absl::Span<const int32_t> positions, const Buffer& cos_sin,
                                 const AttentionShape& shape, absl::Span<const KvLayerView> kv) {
  for (size_t i = 0; i < positions.size(); ++i) {
    RopeAppendKv(qkv.Rows(static_cast<int64_t>(i), 1), positions.subspan(i, 1), cos_sin, shape, kv[i]);
  }
}

void Backend::ArgmaxRows(ConstMatrix src, absl::Span<TokenId> best) {
  std::vector<float> row(src.cols);
  for (int64_t i = 0; i < src.rows; ++i) {
    ReadRows(src.Rows(i, 1), absl::MakeSpan(row));
    best[i] = -1;
    for (int64_t j = 0; j < src.cols; ++j) {
      if (std::isfinite(row[j]) && (best[i] < 0 || row[j] > row[best[i]])) best[i] = static_cast<TokenId>(j);
    }
  }
}

}  // namespace slimfill::engine
