// Stored prefixes: stage 1 does not depend on the question, so its KV and the residual stream it ends with are kept per
// prompt block, and a later request with the same beginning starts after them.
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

// The value of a prefix block: the pages of layers [0, layers), then the residual stream of its 64 tokens, f32.
struct PrefixBlockLayout {
  int layers = 0;
  int64_t page_bytes = 0;
  int64_t hidden = 0;
  int64_t residual_bytes() const { return kBlockTokens * hidden * DTypeBytes(DType::kF32); }
  int64_t value_bytes() const { return layers * page_bytes + residual_bytes(); }
};

// Engine thread only.
class PrefixCache {
 public:
  // `identity` names everything that decides the bytes of a block (see kvstore/api/block_key.h).
  PrefixCache(kvstore::KvStore& store, KvStreamer& streamer, Backend& backend, Metrics& metrics,
              const PrefixBlockLayout& layout, std::string identity);

  int layers() const { return layout_.layers; }  // of stage 1, as stored

  std::vector<kvstore::BlockKey> Keys(absl::Span<const TokenId> tokens, absl::string_view tenant_salt) const;

  // Loads the longest stored prefix of at most `max_blocks` blocks into `layers` (empty before) and the first rows of
  // `hidden`, within `budget`. Returns the number of blocks loaded; whatever fails ends the prefix there.
  int64_t Load(absl::Span<const kvstore::BlockKey> keys, int64_t max_blocks, absl::Duration budget,
               absl::Span<LayerKv> layers, Matrix hidden);

  // Copies blocks [first, end) and queues them for writing. REQUIRES: stage 1 has run for them.
  void Store(absl::Span<const kvstore::BlockKey> keys, int64_t first, int64_t end, absl::Span<const LayerKv> layers,
             ConstMatrix hidden);

 private:
  absl::Status LoadBatch(absl::Span<const kvstore::BlockKey> keys, int64_t first, kvstore::LeaseId lease,
                         absl::Time deadline, absl::Span<LayerKv> layers, Matrix hidden, int64_t& loaded);
  absl::Status Unpack(absl::Span<const std::byte> value, int32_t block, absl::Span<LayerKv> layers, Matrix hidden);

  kvstore::KvStore& store_;
  KvStreamer& streamer_;
  Backend& backend_;
  Metrics& metrics_;
  const PrefixBlockLayout layout_;
  const std::string identity_;
  std::vector<std::byte> scratch_;
};

}  // namespace slimfill::engine
