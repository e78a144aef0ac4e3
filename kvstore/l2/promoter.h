// Brings blocks of a chain from the L2 into a KV store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "kvstore/core/local_store.h"
#include "kvstore/l2/l2_store.h"

namespace slimfill::kvstore {

struct PromoterOptions {
  uint64_t max_bytes = uint64_t{512} << 20;   // of one promotion; and never more than half of the store's memory
  uint64_t batch_bytes = uint64_t{32} << 20;  // read at once: what a deadline may cost in vain
};

// Thread safe.
class Promoter {
 public:
  // `store`, `l2`, `clock` and `metrics` (may be null) outlive it.
  Promoter(LocalKvStore& store, L2Store& l2, const PromoterOptions& options, const Clock& clock, Metrics* metrics);

  // `keys` follow one another in a chain whose earlier blocks are in the store. Copies them from the front, until one
  // is in neither place, room or time runs out. How many of them are in the store now.
  int64_t Promote(absl::Span<const BlockKey> keys, absl::Time deadline);

 private:
  struct Arrival {
    BlockKey key;
    L2Entry entry;
  };

  // The front of `keys` that the L2 has, at most what may be promoted.
  std::vector<Arrival> FindFront(absl::Span<const BlockKey> keys, absl::Time deadline);
  // Copies one batch; how many of its front are in the store now.
  size_t Copy(absl::Span<const Arrival> batch, absl::Time deadline);

  LocalKvStore& store_;
  L2Store& l2_;
  const PromoterOptions options_;
  const Clock& clock_;
  Metrics* const metrics_;
};

}  // namespace slimfill::kvstore
