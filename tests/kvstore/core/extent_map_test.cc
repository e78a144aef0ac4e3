#include "kvstore/core/extent_map.h"

#include <map>
#include <random>

#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

TEST(ExtentMap, TakesTheSmallestRangeThatFits) {
  ExtentMap map(100);
  ASSERT_EQ(map.Take(10), 0u);
  ASSERT_EQ(map.Take(20), 10u);
  ASSERT_EQ(map.Take(30), 30u);
  map.Return(0, 10);
  map.Return(30, 30);  // merges with the 40 behind
  EXPECT_EQ(map.Take(5), 0u);
  EXPECT_EQ(map.Take(6), 30u);
  EXPECT_EQ(map.Take(5), 5u);
}

TEST(ExtentMap, MergesNeighboursOnBothSides) {
  ExtentMap map(30);
  for (uint64_t offset = 0; offset < 30; offset += 10) ASSERT_EQ(map.Take(10), offset);
  EXPECT_EQ(map.Take(1), std::nullopt);
  map.Return(0, 10);
  map.Return(20, 10);
  EXPECT_EQ(map.Take(11), std::nullopt);
  map.Return(10, 10);
  EXPECT_EQ(map.Take(30), 0u);
}

TEST(ExtentMap, RandomRangesNeverOverlapAndAllComeBack) {
  std::mt19937 random(7);
  ExtentMap map(1000);
  std::map<uint64_t, uint64_t> taken;
  for (int step = 0; step < 20000; ++step) {
    if (taken.empty() || random() % 2 == 0) {
      const uint64_t size = 1 + random() % 60;
      const std::optional<uint64_t> offset = map.Take(size);
      if (!offset.has_value()) continue;
      ASSERT_LE(*offset + size, 1000u);
      const auto next = taken.lower_bound(*offset);
      ASSERT_TRUE(next == taken.end() || *offset + size <= next->first);
      ASSERT_TRUE(next == taken.begin() || std::prev(next)->first + std::prev(next)->second <= *offset);
      taken.emplace(*offset, size);
    } else {
      const auto victim = std::next(taken.begin(), random() % taken.size());
      map.Return(victim->first, victim->second);
      taken.erase(victim);
    }
  }
  for (const auto& [offset, size] : taken) map.Return(offset, size);
  EXPECT_EQ(map.Take(1000), 0u);
}

}  // namespace
}  // namespace slimfill::kvstore
