// Each tenant's share of the store: what it may take, and that others do not pay for it.
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/core/local_store.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;

constexpr absl::Time kNoDeadline = absl::InfiniteFuture();
constexpr size_t kBlock = 4096;
constexpr uint64_t kCharge = kBlock + Arena::kOverheadBytes;

class TenantQuotaTest : public ::testing::Test {
 protected:
  std::unique_ptr<LocalKvStore> Make(uint64_t blocks, uint64_t tenant_blocks) {
    const LocalStoreOptions options{.memory_bytes = blocks * kCharge, .tenant_bytes = tenant_blocks * kCharge};
    return LocalKvStore::Create(options, clock_, nullptr).value();
  }

  absl::Status Put(uint32_t id, uint64_t tenant, uint32_t parent = 0, LeaseId lease = 0, size_t size = kBlock) {
    const std::vector<std::byte> value = Bytes(id, size);
    PutItem item = Item(Key(id), value, parent == 0 ? BlockKey{} : Key(parent));
    item.tenant = tenant;
    return store_->Put({item}, lease, kNoDeadline)->front();
  }
  bool Has(uint32_t id) { return store_->Read(Key(id), 0, 1, 0).ok(); }

  FakeClock clock_;
  std::unique_ptr<LocalKvStore> store_ = Make(20, 4);
};

TEST_F(TenantQuotaTest, TenantsDisplaceTheirOwnOldestBlocksOnly) {
  ASSERT_TRUE(Put(100, 2).ok());
  for (uint32_t id = 1; id <= 6; ++id) ASSERT_TRUE(Put(id, 1).ok());
  EXPECT_TRUE(Has(100)) << "older than all of them, but another tenant's";
  for (uint32_t id = 1; id <= 6; ++id) EXPECT_EQ(Has(id), id > 2) << id;
  EXPECT_EQ(store_->Stats(kNoDeadline)->evictions, 2u);
}

TEST_F(TenantQuotaTest, BlocksOfNobodyAndPrivateOnesTakeNoShare) {
  for (uint32_t id = 1; id <= 6; ++id) ASSERT_TRUE(Put(id, 0).ok());
  const LeaseId lease = store_->OpenPrivate(kNoDeadline).value();
  for (uint32_t id = 11; id <= 16; ++id) ASSERT_TRUE(Put(id, 1, 0, lease).ok());
  for (uint32_t id = 21; id <= 24; ++id) ASSERT_TRUE(Put(id, 1).ok());
  EXPECT_EQ(store_->Stats(kNoDeadline)->evictions, 0u);
}

TEST_F(TenantQuotaTest, RefusesWhenAllOfTheShareIsLeased) {
  std::vector<BlockKey> keys;
  for (uint32_t id = 1; id <= 4; ++id) {
    ASSERT_TRUE(Put(id, 1).ok());
    keys.push_back(Key(id));
  }
  const PrefixMatch match = store_->MatchPrefix(keys, kNoDeadline).value();
  const absl::Status refused = Put(5, 1);
  EXPECT_EQ(refused.code(), Code::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("--tenant-memory"));
  EXPECT_TRUE(Put(6, 2).ok()) << "others go on";
  store_->Release(match.lease);
  EXPECT_TRUE(Put(5, 1).ok());
}

TEST_F(TenantQuotaTest, RefusesBlocksLargerThanTheShareWithoutEvictingForThem) {
  ASSERT_TRUE(Put(1, 1).ok());
  EXPECT_EQ(Put(2, 1, 0, 0, 5 * kBlock).code(), Code::kResourceExhausted);
  EXPECT_TRUE(Has(1));
}

TEST_F(TenantQuotaTest, SharesComeBackHoweverBlocksGo) {
  for (uint32_t id = 1; id <= 4; ++id) ASSERT_TRUE(Put(id, 1).ok());
  ASSERT_TRUE(store_->Delete({Key(1)}).front().ok());
  const_cast<std::byte&>(store_->Read(Key(2), 0, 1, 0)->bytes[0]) ^= std::byte{1};
  EXPECT_FALSE(Has(2));
  { const auto dropped = store_->Reserve({.key = Key(9), .bytes = kBlock, .tenant = 1}, 0).value(); }
  EXPECT_TRUE(Put(5, 1).ok());
  EXPECT_TRUE(Put(6, 1).ok());
  EXPECT_EQ(store_->Stats(kNoDeadline)->evictions, 0u);
}

TEST_F(TenantQuotaTest, FullStoresEvictFromAllTenants) {
  store_ = Make(16, 15);
  ASSERT_TRUE(Put(1, 1).ok());
  for (uint32_t id = 2; id <= 16; ++id) ASSERT_TRUE(Put(id, 2).ok());
  ASSERT_TRUE(Put(17, 1).ok());
  EXPECT_FALSE(Has(1)) << "the oldest of all";
}

TEST_F(TenantQuotaTest, ShareLargerThanTheStoreIsRefused) {
  const LocalStoreOptions options{.memory_bytes = 1 << 20, .tenant_bytes = (1 << 20) + 1};
  EXPECT_EQ(LocalKvStore::Create(options, clock_, nullptr).status().code(), Code::kInvalidArgument);
}

TEST_F(TenantQuotaTest, ThreadsOfOneTenantNeverTakeMoreThanItsShare) {
  std::vector<std::thread> threads;
  for (uint32_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (uint32_t id = 0; id < 500; ++id) Put(1000 * thread + id, 1 + thread % 2).IgnoreError();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(store_->Stats(kNoDeadline)->bytes_used, 8 * kCharge);
}

}  // namespace
}  // namespace slimfill::kvstore
