// Stored prefixes, per prompt block, so that a later request with the same beginning starts after them. Two kinds:
//
// - Stage 1 does not depend on the question: its KV and the residual stream it ends with serve pruned prefills, and
// dense
//   ones up to there ("warm").
// - Where a prompt ran densely the other layers' KV is stored too: a request needs to run nothing but what is new, and
//   gets what dense prefill would have answered ("hot").
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/metrics.h"
#include "engine/kv/layer_kv.h"
#include "engine/kv/streamer.h"
#include "engine/model/tokenizer.h"
#include "engine/ops/backend.h"
#include "kvstore/api/block_key.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::engine {

// Sizes of a block's two values: that of stage 1 has the pages of layers [0, layers), then the residual stream of its
// 64 tokens, f32, then what each of them looks back to at each of the heads that make links; the other has the pages of
// layers [layers, total_layers).
struct PrefixBlockLayout {
  int layers = 0;  // of stage 1
  int total_layers = 0;
  int64_t page_bytes = 0;
  int64_t hidden = 0;
  int link_heads = 0;
  int64_t stage1_kv_bytes() const { return layers * page_bytes; }
  int64_t residual_bytes() const { return kBlockTokens * hidden * DTypeBytes(DType::kF32); }
  int64_t block_looks() const { return int64_t{kBlockTokens} * link_heads; }
  int64_t looks_bytes() const { return block_looks() * static_cast<int64_t>(sizeof(FarLook)); }
  int64_t stage1_bytes() const { return stage1_kv_bytes() + residual_bytes() + looks_bytes(); }
  int64_t upper_bytes() const { return (total_layers - layers) * page_bytes; }
};

// What the store has of a prompt, kept from eviction until PrefixCache::Release.
struct StoredPrefix {
  int64_t blocks = 0;      // with stage 1
  int64_t hot_blocks = 0;  // with all layers; at most `blocks`
  kvstore::LeaseId lease = 0, hot_lease = 0;
};

// Of a prompt's full blocks.
struct PrefixKeys {
  std::vector<kvstore::BlockKey> blocks;
  uint64_t tenant = 0;  // whose share of the store they take; 0 where there are no tenants
};

// Engine thread only.
class PrefixCache {
 public:
  // `identity` names everything that decides the bytes of a block (see kvstore/api/block_key.h).
  PrefixCache(kvstore::KvStore& store, KvStreamer& streamer, Backend& backend, Metrics& metrics,
              const PrefixBlockLayout& layout, std::string identity);

  int layers() const { return layout_.layers; }  // of stage 1, as stored
  // What a prompt of so many blocks takes in the store when it is hot.
  int64_t HotBytes(int64_t blocks) const { return blocks * (layout_.stage1_bytes() + layout_.upper_bytes()); }

  PrefixKeys Keys(absl::Span<const TokenId> tokens, absl::string_view tenant_salt) const;

  // The longest stored prefix of `keys`; nothing when the store does not answer in time. `hot`: looks for hot blocks
  // too.
  StoredPrefix Find(absl::Span<const kvstore::BlockKey> keys, bool hot, absl::Time deadline);

  // Loads all layers of blocks [0, prefix.hot_blocks) into `layers` (of the whole model, empty before). Returns the
  // number of blocks loaded; whatever fails ends the prefix there.
  int64_t LoadHot(absl::Span<const kvstore::BlockKey> keys, const StoredPrefix& prefix, absl::Time deadline,
                  absl::Span<LayerKv> layers);
  // Loads stage 1 of blocks [first, end) into `layers` (of stage 1, blocks before `first` only) and their rows of
  // `hidden` and of `looks` [64 * blocks, link heads]. Returns the first block that was not loaded.
  int64_t LoadStage1(absl::Span<const kvstore::BlockKey> keys, const StoredPrefix& prefix, int64_t first, int64_t end,
                     absl::Time deadline, absl::Span<LayerKv> layers, Matrix hidden, absl::Span<FarLook> looks);
  // Counts what was reused: `loaded` of `asked` blocks.
  void Release(const StoredPrefix& prefix, int64_t loaded, int64_t asked);

  // Copies blocks [first, end) and queues them for writing. REQUIRES: stage 1 has run for them.
  void StoreStage1(const PrefixKeys& keys, int64_t first, int64_t end, absl::Span<const LayerKv> layers,
                   ConstMatrix hidden, absl::Span<const FarLook> looks);
  // The same for the layers behind stage 1, `layers` being the whole model's. REQUIRES: they have run densely.
  void StoreUpper(const PrefixKeys& keys, int64_t first, int64_t end, absl::Span<const LayerKv> layers);

 private:
  // What takes a block's bytes in, asked for as one range for each key.
  using Unpacker = std::function<absl::Status(int32_t block, absl::Span<const std::byte> bytes)>;
  struct Ranges {
    absl::Span<const kvstore::BlockKey> keys;
    int64_t bytes = 0;  // from the values' beginning
    kvstore::LeaseId lease = 0;
    Unpacker unpack;
  };
  // Fetches and unpacks blocks [first, end) batch by batch, a block's ranges one after the other.
  int64_t LoadBlocks(absl::Span<const Ranges> ranges, int64_t first, int64_t end, absl::Time deadline);
  absl::Status LoadBatch(absl::Span<const Ranges> ranges, int64_t first, int64_t end, absl::Time deadline,
                         int64_t& loaded);
  absl::Status UnpackPages(absl::Span<const std::byte> pages, int32_t block, absl::Span<LayerKv> layers);
  // Where a block's pages lie in these layers.
  std::vector<absl::Span<const std::byte>> PagesOf(int64_t block, absl::Span<const LayerKv> layers) const;

  kvstore::KvStore& store_;
  KvStreamer& streamer_;
  Backend& backend_;
  Metrics& metrics_;
  const PrefixBlockLayout layout_;
  const std::string identity_;
  std::vector<std::byte> scratch_;
};

}  // namespace slimfill::engine
