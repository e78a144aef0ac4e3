#include "engine/kv/prefix_cache.h"

#include <algorithm>
#include <cstring>

#include "base/metric_names.h"
#include "base/status.h"

namespace slimfill::engine {
namespace {

constexpr int64_t kBlocksPerFetch = 16;

std::byte* RowBytes(Matrix hidden, int64_t row) { return static_cast<std::byte*>(hidden.Rows(row, 1).data); }

std::vector<kvstore::BlockKey> UpperKeys(absl::Span<const kvstore::BlockKey> keys) {
  std::vector<kvstore::BlockKey> upper;
  upper.reserve(keys.size());
  for (const kvstore::BlockKey& key : keys) upper.push_back(kvstore::UpperLayersKey(key));
  return upper;
}

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

PrefixKeys PrefixCache::Keys(absl::Span<const TokenId> tokens, absl::string_view tenant_salt) const {
  return {.blocks = kvstore::ChainKeys(kvstore::ChainRoot(identity_, tenant_salt), tokens, kBlockTokens),
          .tenant = kvstore::TenantNumber(tenant_salt)};
}

// Hot blocks first: they are then the less recently used, so that a store that is short of room keeps stage 1 longer.
StoredPrefix PrefixCache::Find(absl::Span<const kvstore::BlockKey> keys, bool hot, absl::Time deadline) {
  StoredPrefix prefix;
  if (keys.empty()) return prefix;
  kvstore::PrefixMatch upper;
  if (hot) {
    auto match = store_.MatchPrefix(UpperKeys(keys), deadline);
    if (!match.ok()) return prefix;
    upper = *match;
    prefix.hot_lease = upper.lease;
  }
  if (const auto match = store_.MatchPrefix(keys, deadline); match.ok()) {
    prefix.blocks = match->blocks;
    prefix.lease = match->lease;
    prefix.hot_blocks = std::min(upper.blocks, match->blocks);
  }
  return prefix;
}

void PrefixCache::Release(const StoredPrefix& prefix, int64_t loaded, int64_t asked) {
  for (const kvstore::LeaseId lease : {prefix.lease, prefix.hot_lease}) {
    if (lease != 0) store_.Release(lease);
  }
  metrics_.Add(metric::kKvHits, {}, static_cast<double>(loaded));
  metrics_.Add(metric::kKvMisses, {}, static_cast<double>(asked - loaded));
}

int64_t PrefixCache::LoadHot(absl::Span<const kvstore::BlockKey> keys, const StoredPrefix& prefix, absl::Time deadline,
                             absl::Span<LayerKv> layers) {
  const std::vector<kvstore::BlockKey> upper_keys = UpperKeys(keys.first(prefix.hot_blocks));
  const auto unpack_into = [&](absl::Span<LayerKv> part) {
    return [this, part](int32_t block, absl::Span<const std::byte> pages) { return UnpackPages(pages, block, part); };
  };
  const Ranges ranges[] = {
      {keys, layout_.stage1_kv_bytes(), prefix.lease, unpack_into(layers.first(layout_.layers))},
      {upper_keys, layout_.upper_bytes(), prefix.hot_lease, unpack_into(layers.subspan(layout_.layers))}};
  return LoadBlocks(ranges, 0, prefix.hot_blocks, deadline);
}

int64_t PrefixCache::LoadStage1(absl::Span<const kvstore::BlockKey> keys, const StoredPrefix& prefix, int64_t first,
                                int64_t end, absl::Time deadline, absl::Span<LayerKv> layers, Matrix hidden,
                                absl::Span<FarLook> looks) {
  const auto unpack = [&](int32_t block, absl::Span<const std::byte> value) {
    SLIMFILL_RETURN_IF_ERROR(UnpackPages(value.first(layout_.stage1_kv_bytes()), block, layers));
    value.remove_prefix(layout_.stage1_kv_bytes());
    backend_.WritePage(value.first(layout_.residual_bytes()), RowBytes(hidden, block * kBlockTokens));
    value.remove_prefix(layout_.residual_bytes());
    if (!value.empty()) std::memcpy(&looks[block * layout_.block_looks()], value.data(), value.size());
    return absl::OkStatus();
  };
  const Ranges ranges[] = {{keys, layout_.stage1_bytes(), prefix.lease, unpack}};
  return LoadBlocks(ranges, first, std::min(end, prefix.blocks), deadline);
}

int64_t PrefixCache::LoadBlocks(absl::Span<const Ranges> ranges, int64_t first, int64_t end, absl::Time deadline) {
  int64_t loaded = first;
  absl::Status status;
  while (status.ok() && loaded < end) {
    status = LoadBatch(ranges, loaded, std::min(loaded + kBlocksPerFetch, end), deadline, loaded);
  }
  return loaded;
}

absl::Status PrefixCache::LoadBatch(absl::Span<const Ranges> ranges, int64_t first, int64_t end, absl::Time deadline,
                                    int64_t& loaded) {
  int64_t block_bytes = 0;
  for (const Ranges& range : ranges) block_bytes += range.bytes;
  scratch_.resize(kBlocksPerFetch * block_bytes);
  std::vector<std::vector<kvstore::FetchItem>> items(ranges.size());
  std::vector<std::vector<absl::Status>> statuses(ranges.size());
  absl::Span<std::byte> free = absl::MakeSpan(scratch_);
  for (size_t r = 0; r < ranges.size(); ++r) {
    const Ranges& range = ranges[r];
    for (int64_t block = first; block < end; ++block) {
      items[r].push_back({range.keys[block], 0, free.first(range.bytes)});
      free.remove_prefix(range.bytes);
    }
    SLIMFILL_ASSIGN_OR_RETURN(statuses[r], store_.Fetch(items[r], range.lease, deadline));
  }
  for (int64_t i = 0; i < end - first; ++i) {
    for (const auto& status : statuses) SLIMFILL_RETURN_IF_ERROR(status[i]);
    for (size_t r = 0; r < ranges.size(); ++r) {
      SLIMFILL_RETURN_IF_ERROR(ranges[r].unpack(static_cast<int32_t>(first + i), items[r][i].destination));
    }
    ++loaded;
  }
  return absl::OkStatus();
}

absl::Status PrefixCache::UnpackPages(absl::Span<const std::byte> pages, int32_t block, absl::Span<LayerKv> layers) {
  for (LayerKv& layer : layers) {
    SLIMFILL_RETURN_IF_ERROR(layer.Append(block));
    backend_.WritePage(pages.first(layout_.page_bytes), layer.view().back().page);
    pages.remove_prefix(layout_.page_bytes);
  }
  return absl::OkStatus();
}

std::vector<absl::Span<const std::byte>> PrefixCache::PagesOf(int64_t block, absl::Span<const LayerKv> layers) const {
  std::vector<absl::Span<const std::byte>> pages;
  for (const LayerKv& layer : layers) {
    const KvBlock& entry = layer.view()[block];
    SLIMFILL_CHECK(entry.block == block);
    pages.emplace_back(entry.page, layout_.page_bytes);
  }
  return pages;
}

void PrefixCache::StoreStage1(const PrefixKeys& keys, int64_t first, int64_t end, absl::Span<const LayerKv> layers,
                              ConstMatrix hidden, absl::Span<const FarLook> looks) {
  end = std::min<int64_t>(end, keys.blocks.size());
  for (int64_t block = first; block < end; ++block) {
    std::vector<absl::Span<const std::byte>> sources = PagesOf(block, layers);
    const auto* rows = static_cast<const std::byte*>(hidden.Rows(block * kBlockTokens, kBlockTokens).data);
    sources.emplace_back(rows, layout_.residual_bytes());
    std::vector<std::byte> value(layout_.stage1_bytes());
    const int64_t device_bytes = layout_.stage1_kv_bytes() + layout_.residual_bytes();
    if (layout_.link_heads > 0) {
      std::memcpy(value.data() + device_bytes, &looks[block * layout_.block_looks()], layout_.looks_bytes());
    }
    std::unique_ptr<PendingRead> pending = backend_.BeginRead(sources, absl::MakeSpan(value).first(device_bytes));
    const kvstore::BlockKey parent = block == 0 ? kvstore::BlockKey{} : keys.blocks[block - 1];
    streamer_.PutShared(keys.blocks[block], parent, keys.tenant, std::move(value), std::move(pending));
  }
}

void PrefixCache::StoreUpper(const PrefixKeys& keys, int64_t first, int64_t end, absl::Span<const LayerKv> layers) {
  end = std::min<int64_t>(end, keys.blocks.size());
  for (int64_t block = first; block < end; ++block) {
    std::vector<std::byte> value(layout_.upper_bytes());
    std::unique_ptr<PendingRead> pending =
        backend_.BeginRead(PagesOf(block, layers.subspan(layout_.layers)), absl::MakeSpan(value));
    const kvstore::BlockKey parent = block == 0 ? kvstore::BlockKey{} : kvstore::UpperLayersKey(keys.blocks[block - 1]);
    streamer_.PutShared(kvstore::UpperLayersKey(keys.blocks[block]), parent, keys.tenant, std::move(value),
                        std::move(pending));
  }
}

}  // namespace slimfill::engine
