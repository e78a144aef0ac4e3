// What backends share that do not know better.
#include "engine/ops/backend.h"

#include <algorithm>
#include <cmath>
#include <vector>

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

// Row by row, by the masses of all units.
void Backend::LookBack(ConstMatrix q, absl::Span<const int32_t> positions, absl::Span<const int> heads,
                       const AttentionShape& shape, KvLayerView kv, absl::Span<FarLook> out) {
  std::vector<float> row(q.cols);
  std::vector<float> mass(heads.size() * kv.size() * kUnitsPerBlock);
  for (int64_t i = 0; i < q.rows; ++i) {
    ReadRows(q.Rows(i, 1), absl::MakeSpan(row));
    AttentionMass({.q = row, .positions = positions.subspan(i, 1), .heads = heads, .end_position = positions[i] + 1},
                  shape, kv, absl::MakeSpan(mass));
    const int64_t end = positions[i] / kUnitTokens - kFarUnits + 1;
    for (size_t head = 0; head < heads.size(); ++head) {
      FarLook& look = out[i * heads.size() + head] = {};
      for (int64_t unit = kFirstFarUnit; unit < end; ++unit) {
        const float m = mass[head * kv.size() * kUnitsPerBlock + unit];
        if (m > look.mass) look = {static_cast<int32_t>(unit), m};
      }
    }
  }
}

RowTops Backend::TopRows(ConstMatrix src, int64_t count, absl::Span<const float> temperatures) {
  RowTops tops;
  std::vector<float> row(src.cols);
  std::vector<TokenId> order;
  for (int64_t i = 0; i < src.rows; ++i) {
    ReadRows(src.Rows(i, 1), absl::MakeSpan(row));
    order.clear();
    for (int64_t j = 0; j < src.cols; ++j) {
      if (std::isfinite(row[j])) order.push_back(static_cast<TokenId>(j));
    }
    const auto found = std::min<int64_t>(count, static_cast<int64_t>(order.size()));
    std::partial_sort(order.begin(), order.begin() + found, order.end(),
                      [&](TokenId a, TokenId b) { return row[a] != row[b] ? row[a] > row[b] : a < b; });
    for (int64_t k = 0; k < count; ++k) {
      tops.indices.push_back(k < found ? order[k] : -1);
      tops.values.push_back(k < found ? row[order[k]] : 0.0f);
    }
    double mass = 0;
    if (temperatures[i] > 0) {
      for (TokenId j : order) mass += std::exp((row[j] - row[order[0]]) / temperatures[i]);
    }
    tops.masses.push_back(static_cast<float>(mass));
  }
  return tops;
}

}  // namespace slimfill::engine
