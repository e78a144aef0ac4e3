#include "engine/prompt_links.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::engine {
namespace {

using ::testing::ElementsAre;

// Two heads over a prompt of one block: looks of the first tokens of a unit.
TEST(BestLooksTest, KeepsTheDifferentUnitsWithMostMass) {
  PromptLinks links({{0, 1}, {0, 2}}, 50);
  ASSERT_EQ(links.looks().size(), 64 * 2);
  const auto look = [&](int token, int head) -> FarLook& { return links.looks()[token * 2 + head]; };
  look(16, 1) = {3, 0.2f};
  look(17, 1) = {4, 0.3f};
  look(18, 1) = {3, 0.4f};  // again, with more
  look(19, 1) = {4, 0.1f};  // again, with less
  look(20, 1) = {5, 0.25f};
  look(21, 0) = {6, 0.9f};  // by the other head
  look(24, 1) = {7, 0.1f};  // of the next unit
  const std::vector<FarLook> best = links.BestLooks(1, 2);
  ASSERT_EQ(best.size(), 8 * 2);
  EXPECT_THAT(std::vector<FarLook>(best.begin() + 4, best.begin() + 8),
              ElementsAre(FarLook{3, 0.4f}, FarLook{4, 0.3f}, FarLook{7, 0.1f}, FarLook{}));
  EXPECT_EQ(best[0], FarLook{});
  EXPECT_EQ(links.BestLooks(0, 1)[2], (FarLook{6, 0.9f}));
}

TEST(BestLooksTest, ALaterUnitTakesThePlaceOfTheLeast) {
  PromptLinks links({{0, 0}}, 8);
  for (int token = 0; token < 4; ++token) links.looks()[token] = {10 + token, 0.1f * static_cast<float>(token + 1)};
  EXPECT_THAT(links.BestLooks(0, 2)[0], (FarLook{13, 0.4f}));
  EXPECT_THAT(links.BestLooks(0, 2)[1].unit, 12);
}

}  // namespace
}  // namespace slimfill::engine
