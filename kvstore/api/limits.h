// What one call on a KV store may ask for. Every store checks it before it allocates, so that the in-process store, the
// client and the service refuse the same calls with the same words.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::kvstore {

struct KvLimits {
  size_t max_keys = 16384;                        // keys of one MatchPrefix or Delete: 1 M tokens in blocks of 64
  size_t max_items = 4096;                        // items of one Put or Fetch
  uint64_t max_value_bytes = uint64_t{64} << 20;  // one value
  uint64_t max_call_bytes = uint64_t{1} << 30;    // all values or ranges of one Put or Fetch
};

// Adds up the items of one call as they become known. INVALID_ARGUMENT names the value, the limit and the remedy.
class CallBudget {
 public:
  CallBudget(const char* call, const KvLimits& limits) : call_(call), limits_(limits) {}
  absl::Status AddItem(uint64_t bytes);  // bytes of the value or range

 private:
  const char* call_;
  const KvLimits& limits_;
  size_t items_ = 0;
  uint64_t bytes_ = 0;
};

absl::Status CheckKeys(size_t keys, const KvLimits& limits);
absl::Status CheckPut(absl::Span<const PutItem> items, const KvLimits& limits);
absl::Status CheckFetch(absl::Span<const FetchItem> items, const KvLimits& limits);

// Sum of the sizes of the item's parts.
uint64_t ValueBytes(const PutItem& item);

// DEADLINE_EXCEEDED for a call or an item whose time ran out before the work began.
absl::Status DeadlineExpired();

}  // namespace slimfill::kvstore
