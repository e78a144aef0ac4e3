#include "engine/kv/prefix_cache.h"

#include <algorithm>

#include "base/metric_names.h"
#include "base/status.h"

namespace slimfill::engine {
namespace {

constexpr int64_t kBlocksPerFetch = 16;
constexpr absl::Duration kMatchDeadline = absl::Milliseconds(50);

std::byte* RowBytes(Matrix hidden, int64_t row) { return static_cast<std::byte*>(hidden.Rows(row, 1).data); }

}  // namespace

PrefixCache::PrefixCache(kvstore::KvStore& store, KvStreamer& streamer, Backend& backend, Metrics& metrics,
                         const PrefixBlockLayout& layout, std::string identity)
    : store_(store),
      streamer_(streamer),
      backend_(backend),
      metrics_(metrics),
      layout_(layout),
      identity_(std::move(identity)) {
  // There from the start, so that the first hit or miss is an increase.
  metrics_.Add(metric::kKvHits, {}, 0);
  metrics_.Add(metric::kKvMisses, {}, 0);
}

std::vector<kvstore::BlockKey> PrefixCache::Keys(absl::Span<const TokenId> tokens,
                                                 absl::string_view tenant_salt) const {
  return kvstore::ChainKeys(kvstore::ChainRoot(identity_, tenant_salt), tokens, kBlockTokens);
}

int64_t PrefixCache::Load(absl::Span<const kvstore::BlockKey> keys, int64_t max_blocks, absl::Duration budget,
                          absl::Span<LayerKv> layers, Matrix hidden) {
  keys = keys.first(std::clamp<int64_t>(max_blocks, 0, keys.size()));
  if (keys.empty()) return 0;
  const absl::Time begin = absl::Now();
  const auto match = store_.MatchPrefix(keys, begin + std::min(budget, kMatchDeadline));
  if (!match.ok() || match->blocks == 0) {
    metrics_.Add(metric::kKvMisses, {}, static_cast<double>(keys.size()));
    return 0;
  }
  int64_t loaded = 0;
  absl::Status status;
  while (status.ok() && loaded < match->blocks) {
    const int64_t count = std::min(kBlocksPerFetch, match->blocks - loaded);
    status = LoadBatch(keys.subspan(loaded, count), loaded, match->lease, begin + budget, layers, hidden, loaded);
  }
  store_.Release(match->lease);
  metrics_.Add(metric::kKvHits, {}, static_cast<double>(loaded));
  metrics_.Add(metric::kKvMisses, {}, static_cast<double>(static_cast<int64_t>(keys.size()) - loaded));
  return loaded;
}

absl::Status PrefixCache::LoadBatch(absl::Span<const kvstore::BlockKey> keys, int64_t first, kvstore::LeaseId lease,
                                    absl::Time deadline, absl::Span<LayerKv> layers, Matrix hidden, int64_t& loaded) {
  const int64_t value_bytes = layout_.value_bytes();
  scratch_.resize(kBlocksPerFetch * value_bytes);
  std::vector<kvstore::FetchItem> items;
  for (size_t i = 0; i < keys.size(); ++i) {
    items.push_back({keys[i], 0, absl::MakeSpan(scratch_).subspan(i * value_bytes, value_bytes)});
  }
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<absl::Status> statuses, store_.Fetch(items, lease, deadline));
  for (size_t i = 0; i < keys.size(); ++i) {
    SLIMFILL_RETURN_IF_ERROR(statuses[i]);
    SLIMFILL_RETURN_IF_ERROR(Unpack(items[i].destination, static_cast<int32_t>(first + i), layers, hidden));
    ++loaded;
  }
  return absl::OkStatus();
}

absl::Status PrefixCache::Unpack(absl::Span<const std::byte> value, int32_t block, absl::Span<LayerKv> layers,
                                 Matrix hidden) {
  for (int layer = 0; layer < layout_.layers; ++layer) {
    SLIMFILL_RETURN_IF_ERROR(layers[layer].Append(block));
    backend_.WritePage(value.subspan(layer * layout_.page_bytes, layout_.page_bytes), layers[layer].view().back().page);
  }
  backend_.WritePage(value.subspan(layout_.layers * layout_.page_bytes), RowBytes(hidden, block * kBlockTokens));
  return absl::OkStatus();
}

void PrefixCache::Store(absl::Span<const kvstore::BlockKey> keys, int64_t first, int64_t end,
                        absl::Span<const LayerKv> layers, ConstMatrix hidden) {
  end = std::min<int64_t>(end, keys.size());
  for (int64_t block = first; block < end; ++block) {
    std::vector<std::byte> value(layout_.value_bytes());
    const absl::Span<std::byte> bytes = absl::MakeSpan(value);
    for (int layer = 0; layer < layout_.layers; ++layer) {
      const KvBlock& entry = layers[layer].view()[block];
      SLIMFILL_CHECK(entry.block == block);
      backend_.ReadPage(entry.page, bytes.subspan(layer * layout_.page_bytes, layout_.page_bytes));
    }
    const auto* rows = static_cast<const std::byte*>(hidden.Rows(block * kBlockTokens, kBlockTokens).data);
    backend_.ReadPage(rows, bytes.subspan(layout_.layers * layout_.page_bytes));
    streamer_.PutShared(keys[block], block == 0 ? kvstore::BlockKey{} : keys[block - 1], std::move(value));
  }
}

}  // namespace slimfill::engine
