#include "kvstore/core/index.h"

#include <algorithm>

#include "gtest/gtest.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

class IndexTest : public ::testing::Test {
 protected:
  bool Insert(uint32_t id, ParentLink parent = {}, LeaseId owner = 0, uint64_t tenant = 0) {
    Buffer buffer = *arena_->TryAllocate(10);
    std::fill(buffer.bytes().begin(), buffer.bytes().end(), std::byte{1});
    return index_.Insert({owner, Key(id)},
                         std::make_shared<const Value>(Key(id), std::move(buffer), std::vector<uint64_t>(1)),
                         std::move(parent), {.tenant = tenant});
  }
  bool Has(uint32_t id, LeaseId owner = 0) { return index_.Find({owner, Key(id)}).has_value(); }

  std::shared_ptr<Arena> arena_ = Arena::Create(1 << 20).value();
  Index index_;
};

TEST_F(IndexTest, EvictsInOrderOfLastUseOverAllShards) {
  for (uint32_t id = 0; id < 100; ++id) ASSERT_TRUE(Insert(id));
  for (uint32_t id = 0; id < 50; ++id) ASSERT_TRUE(Has(id));  // used again
  for (uint32_t left = 100; left > 50; --left) ASSERT_TRUE(index_.EvictOne());
  for (uint32_t id = 0; id < 100; ++id) EXPECT_EQ(Has(id), id < 50) << id;
  while (index_.EvictOne()) {
  }
  EXPECT_EQ(index_.size(), 0u);
  EXPECT_EQ(arena_->used_bytes(), 0u);
}

TEST_F(IndexTest, PinnedPrivateAndParentEntriesAreNotEvicted) {
  ASSERT_TRUE(Insert(1));
  ASSERT_TRUE(Insert(2, {}, /*owner=*/7));
  ASSERT_TRUE(Insert(3));
  const std::optional<EntryRef> pin = index_.Pin(Key(1));
  ParentLink link = index_.LinkParent(Key(3));
  EXPECT_TRUE(link);
  EXPECT_FALSE(index_.EvictOne());
  link = ParentLink();
  EXPECT_TRUE(index_.EvictOne());
  EXPECT_FALSE(Has(3));
  index_.Unpin(*pin);
  EXPECT_TRUE(index_.EvictOne());
  EXPECT_TRUE(Has(2, 7));
  EXPECT_FALSE(index_.EvictOne());
}

TEST_F(IndexTest, WhatWasHeldGoesByItsLastUse) {
  for (uint32_t id = 1; id <= 4; ++id) ASSERT_TRUE(Insert(id));
  const std::optional<EntryRef> pin = index_.Pin(Key(1));
  ParentLink link = index_.LinkParent(Key(2));
  EXPECT_TRUE(index_.EvictOne());  // its turn would have been 1's, then 2's
  EXPECT_FALSE(Has(3));
  EXPECT_TRUE(Has(4));
  link = ParentLink();
  index_.Unpin(*pin);
  for (const uint32_t next : {2, 1, 4}) {  // 2: last used when it was stored; 1: when it was pinned
    EXPECT_TRUE(index_.EvictOne());
    const std::optional<EntryRef> left = index_.Pin(Key(next));
    EXPECT_FALSE(left.has_value()) << next;
  }
  EXPECT_EQ(index_.size(), 0u);
}

TEST_F(IndexTest, ATenantsOrderAndEverybodysAgree) {
  for (uint32_t id = 1; id <= 40; ++id) ASSERT_TRUE(Insert(id, {}, 0, /*tenant=*/id % 2 + 1));
  for (uint32_t id = 1; id <= 20; ++id) ASSERT_TRUE(Has(id));  // used again
  ASSERT_TRUE(index_.EvictOneOf(1));
  EXPECT_FALSE(Has(22)) << "the oldest of those with an even id";
  for (uint32_t left = 19; left > 0; --left) ASSERT_TRUE(index_.EvictOne());
  EXPECT_EQ(index_.size(), 20u);
  for (uint32_t id = 1; id <= 20; ++id) EXPECT_TRUE(Has(id)) << id;
  for (uint32_t left = 10; left > 0; --left) ASSERT_TRUE(index_.EvictOneOf(2));
  EXPECT_FALSE(index_.EvictOneOf(2));
  for (uint32_t id = 1; id <= 20; ++id) EXPECT_EQ(Has(id), id % 2 == 0) << id;
}

TEST_F(IndexTest, LinkToAnAbsentParentIsEmpty) {
  EXPECT_FALSE(index_.LinkParent(Key(1)));
  EXPECT_FALSE(index_.Pin(Key(1)).has_value());
}

TEST_F(IndexTest, LinkOfAnEarlierLifeDoesNotTouchTheNext) {
  ASSERT_TRUE(Insert(1));
  ParentLink old_link = index_.LinkParent(Key(1));
  index_.Remove({0, Key(1)});
  ASSERT_TRUE(Insert(1));
  ParentLink new_link = index_.LinkParent(Key(1));
  old_link = ParentLink();
  EXPECT_FALSE(index_.EvictOne());
  new_link = ParentLink();
  EXPECT_TRUE(index_.EvictOne());
}

TEST_F(IndexTest, RemoveExactlySparesTheNextLife) {
  ASSERT_TRUE(Insert(1));
  const EntryRef first = index_.Find({0, Key(1)})->ref;
  index_.RemoveExactly(first);
  EXPECT_FALSE(Has(1));
  ASSERT_TRUE(Insert(1));
  index_.RemoveExactly(first);
  EXPECT_TRUE(Has(1));
}

TEST_F(IndexTest, DestroysLongChains) {
  Index index;
  auto arena = Arena::Create(64 << 20).value();
  for (uint32_t id = 0; id < 20000; ++id) {
    Buffer buffer = *arena->TryAllocate(1);
    buffer.bytes().front() = std::byte{1};
    ParentLink parent = id == 0 ? ParentLink() : index.LinkParent(Key(id - 1));
    ASSERT_TRUE(index.Insert({0, Key(id)},
                             std::make_shared<const Value>(Key(id), std::move(buffer), std::vector<uint64_t>(1)),
                             std::move(parent), {}));
  }
  EXPECT_EQ(index.size(), 20000u);
}

}  // namespace
}  // namespace slimfill::kvstore
