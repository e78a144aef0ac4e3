// A store, an L2 and chains of blocks for tests of the tier.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "gtest/gtest.h"
#include "kvstore/core/local_store.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/l2/fake_l2.h"

namespace slimfill::kvstore {

constexpr size_t kBlockBytes = 3000;

inline std::vector<BlockKey> Chain(uint32_t length, uint32_t first = 1) {
  std::vector<BlockKey> keys;
  for (uint32_t id = first; id < first + length; ++id) keys.push_back(Key(id));
  return keys;
}

class TierScene : public ::testing::Test {
 protected:
  explicit TierScene(uint64_t memory_bytes = 1 << 20)
      : store_(LocalKvStore::Create({.memory_bytes = memory_bytes}, clock_, &metrics_).value()) {}

  absl::Time Deadline() { return clock_.Now() + absl::Minutes(1); }

  // Blocks `first` to `last` of a chain of keys 1, 2, 3...
  void PutIntoStore(uint32_t first, uint32_t last) {
    for (uint32_t id = first; id <= last; ++id) {
      const std::vector<std::byte> value = Bytes(id, kBlockBytes);
      const auto statuses = store_->Put({Item(Key(id), value, id == 1 ? BlockKey{} : Key(id - 1))}, 0, Deadline());
      ASSERT_TRUE(statuses.ok() && statuses->front().ok()) << id;
    }
  }
  void PutIntoL2(uint32_t first, uint32_t last) {
    for (uint32_t id = first; id <= last; ++id) {
      l2_.Store(Key(id), id == 1 ? BlockKey{} : Key(id - 1), Bytes(id, kBlockBytes));
    }
  }

  // How many of the chain's first blocks the store has; their bytes must be right.
  int64_t InStore(uint32_t length) {
    const PrefixMatch match = store_->MatchPrefix(Chain(length), Deadline()).value();
    for (uint32_t id = 1; id <= match.blocks; ++id) {
      std::vector<std::byte> got(kBlockBytes);
      EXPECT_TRUE(store_->Fetch({Into(Key(id), got)}, match.lease, Deadline())->front().ok());
      EXPECT_EQ(got, Bytes(id, kBlockBytes)) << "a wrong byte in block " << id;
    }
    store_->Release(match.lease);
    return match.blocks;
  }

  FakeClock clock_;
  Metrics metrics_;
  FakeL2 l2_;
  std::unique_ptr<LocalKvStore> store_;
};

}  // namespace slimfill::kvstore
