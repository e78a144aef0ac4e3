// One block into a store and out of it, and what came of that, for KV store tests.
#pragma once

#include <vector>

#include "gtest/gtest.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {

// The code of the call, or of its one item.
inline absl::StatusCode CodeOf(const absl::StatusOr<std::vector<absl::Status>>& statuses) {
  return statuses.ok() ? statuses->front().code() : statuses.status().code();
}

// `parent` 0: none.
inline absl::StatusCode PutBlock(KvStore& store, uint32_t id, size_t size, LeaseId lease, absl::Time deadline,
                                 uint32_t parent = 0) {
  const std::vector<std::byte> value = Bytes(id, size);
  return CodeOf(store.Put({Item(Key(id), value, parent == 0 ? BlockKey{} : Key(parent))}, lease, deadline));
}

// OK only with the bytes that PutBlock stored under the id.
inline absl::StatusCode FetchBlock(KvStore& store, uint32_t id, size_t size, LeaseId lease, absl::Time deadline) {
  std::vector<std::byte> got(size);
  const absl::StatusCode code = CodeOf(store.Fetch({Into(Key(id), got)}, lease, deadline));
  if (code == absl::StatusCode::kOk) {
    EXPECT_EQ(got, Bytes(id, size)) << "block " << id;
  }
  return code;
}

}  // namespace slimfill::kvstore
