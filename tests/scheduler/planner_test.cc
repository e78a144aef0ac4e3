#include "scheduler/planner.h"

#include <ostream>

#include "gtest/gtest.h"

namespace slimfill::scheduler {

bool operator==(const WorkUnit& a, const WorkUnit& b) { return a.kind == b.kind && a.id == b.id; }
std::ostream& operator<<(std::ostream& out, const WorkUnit& unit) {
  constexpr const char* kNames[] = {"idle", "start", "chunk", "step"};
  return out << kNames[static_cast<int>(unit.kind)] << " " << unit.id;
}

namespace {

WorkUnit StartOf(uint64_t id) { return {WorkUnit::Kind::kStart, id}; }
WorkUnit ChunkOf(uint64_t id) { return {WorkUnit::Kind::kPrefillChunk, id}; }
const WorkUnit kStep = {WorkUnit::Kind::kDecodeStep};
const WorkUnit kNothing = {};

PrefillCandidate Waiting(uint64_t id, int64_t tokens) {
  return {.rank = {.id = id}, .remaining_tokens = tokens, .pages = tokens / 64};
}
PrefillCandidate Begun(uint64_t id, int64_t tokens) {
  PrefillCandidate candidate = Waiting(id, tokens);
  candidate.started = true;
  return candidate;
}
PrefillCandidate WithPriority(int priority, PrefillCandidate candidate) {
  candidate.rank.priority = priority;
  return candidate;
}
PrefillCandidate PassedOver(int chunks, PrefillCandidate candidate) {
  candidate.passed_over = chunks;
  return candidate;
}

struct Scene {
  std::vector<PrefillCandidate> prefills;
  int decoding = 0;
  bool decode_due = false;
  int max_running = 8;
  int64_t free_pages = 100000;
};
WorkUnit PlanOf(const Scene& scene) {
  return Plan({scene.prefills, scene.decoding, scene.max_running, scene.free_pages, scene.decode_due});
}

TEST(PlannerTest, NothingToDoIsIdle) { EXPECT_EQ(PlanOf({}), kNothing); }

TEST(PlannerTest, StartsAWaitingRequestThenRunsItsChunks) {
  EXPECT_EQ(PlanOf({.prefills = {Waiting(1, 1000)}}), StartOf(1));
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 1000)}}), ChunkOf(1));
}

TEST(PlannerTest, DecodeStepComesAfterEveryChunkAndWhenNothingPrefills) {
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 1000)}, .decoding = 2, .decode_due = true}), kStep);
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 1000)}, .decoding = 2, .decode_due = false}), ChunkOf(1));
  EXPECT_EQ(PlanOf({.decoding = 1, .decode_due = false}), kStep);
  EXPECT_EQ(PlanOf({.decoding = 1, .decode_due = true}), kStep);
}

TEST(PlannerTest, DecodeIsNotDueWhenNothingDecodes) {
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 1000)}, .decode_due = true}), ChunkOf(1));
  EXPECT_EQ(PlanOf({.decode_due = true}), kNothing);
}

TEST(PlannerTest, EqualSizesRunInOrderOfArrival) {
  EXPECT_EQ(PlanOf({.prefills = {Waiting(3, 1000), Waiting(1, 1000), Waiting(2, 1000)}}), StartOf(1));
}

TEST(PlannerTest, SizesWithinAFactorOfTwoClassRunInOrderOfArrival) {
  // 1000 and 600 both lie in [512, 1024).
  EXPECT_EQ(PlanOf({.prefills = {Waiting(1, 1000), Waiting(2, 600)}}), StartOf(1));
  EXPECT_EQ(PlanOf({.prefills = {Waiting(1, 1024), Waiting(2, 600)}}), StartOf(2));
}

TEST(PlannerTest, ShortPromptOvertakesALongOneAlreadyBegun) {
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 32000), Waiting(2, 100)}}), StartOf(2));
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 32000), Begun(2, 100)}}), ChunkOf(2));
}

TEST(PlannerTest, LongPromptNearItsEndIsNotOvertakenByOneOfItsRemainingSize) {
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 100), Waiting(2, 100)}}), ChunkOf(1));
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 60), Waiting(2, 100)}}), ChunkOf(1));
}

TEST(PlannerTest, HigherPriorityRunsFirstWhateverItsSize) {
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 100), WithPriority(1, Waiting(2, 32000))}}), StartOf(2));
  EXPECT_EQ(PlanOf({.prefills = {Waiting(1, 100), WithPriority(-1, Begun(2, 50))}}), StartOf(1));
  EXPECT_EQ(PlanOf({.prefills = {WithPriority(2, Waiting(1, 900)), WithPriority(2, Waiting(2, 100)), Waiting(3, 10)}}),
            StartOf(2));
}

TEST(PlannerTest, FirstInLineGetsItsTurnAfterFourChunksOfOthers) {
  const auto plan = [](int passed_over) {
    return PlanOf({.prefills = {PassedOver(passed_over, Begun(1, 32000)), Waiting(9, 100)}});
  };
  EXPECT_EQ(plan(0), StartOf(9));
  EXPECT_EQ(plan(3), StartOf(9));
  EXPECT_EQ(plan(4), ChunkOf(1));
  EXPECT_EQ(plan(100), ChunkOf(1));
}

TEST(PlannerTest, OnlyTheFirstInLineGetsATurn) {
  // Otherwise several long prompts would hold a short one up for a chunk each.
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 32000), PassedOver(50, Begun(2, 32000)), Waiting(3, 100)}}), StartOf(3));
}

TEST(PlannerTest, TurnsDoNotCrossPriorities) {
  EXPECT_EQ(PlanOf({.prefills = {PassedOver(50, Begun(1, 32000)), WithPriority(1, Begun(2, 16000))}}), ChunkOf(2));
}

TEST(PlannerTest, AWaitingRequestAlsoGetsItsTurn) {
  EXPECT_EQ(PlanOf({.prefills = {PassedOver(4, Waiting(1, 32000)), Waiting(9, 100)}}), StartOf(1));
}

TEST(PlannerTest, NothingStartsBeyondMaxRunning) {
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 32000), Waiting(2, 100)}, .decoding = 1, .max_running = 2}), ChunkOf(1));
  EXPECT_EQ(PlanOf({.prefills = {Waiting(2, 100)}, .decoding = 2, .max_running = 2}), kStep);
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 32000), Waiting(2, 100)}, .decoding = 1, .max_running = 3}), StartOf(2));
}

TEST(PlannerTest, NothingStartsWithoutPages) {
  // 6400 tokens are 100 pages here.
  EXPECT_EQ(PlanOf({.prefills = {Waiting(1, 6400)}, .decoding = 1, .free_pages = 99}), kStep);
  EXPECT_EQ(PlanOf({.prefills = {Waiting(1, 6400)}, .decoding = 1, .free_pages = 100}), StartOf(1));
}

TEST(PlannerTest, BegunPromptNeedsNoMorePages) {
  EXPECT_EQ(PlanOf({.prefills = {Begun(1, 6400)}, .free_pages = 0}), ChunkOf(1));
}

TEST(PlannerTest, BlockedRequestWaitsAndOthersPass) {
  PrefillCandidate blocked = Waiting(1, 100);
  blocked.blocked = true;
  EXPECT_EQ(PlanOf({.prefills = {blocked}, .decoding = 1}), kStep);
  EXPECT_EQ(PlanOf({.prefills = {blocked, Waiting(2, 1000)}, .decoding = 1}), StartOf(2));
}

TEST(PlannerTest, RequestWithoutPagesLetsOthersPassForABoundedTimeOnly) {
  const auto plan = [](int passed_over) {
    return PlanOf(
        {.prefills = {PassedOver(passed_over, Waiting(1, 6400)), Waiting(2, 640)}, .decoding = 1, .free_pages = 50});
  };
  EXPECT_EQ(plan(0), StartOf(2));
  EXPECT_EQ(plan(31), StartOf(2));
  EXPECT_EQ(plan(32), kStep);
}

TEST(PlannerTest, ReservationDoesNotHoldUpWhatRanksAboveIt) {
  const PrefillCandidate starved = PassedOver(32, Waiting(5, 6400));
  EXPECT_EQ(PlanOf({.prefills = {starved, Waiting(3, 640)}, .decoding = 1, .free_pages = 50}), StartOf(3));
  EXPECT_EQ(PlanOf({.prefills = {starved, WithPriority(1, Waiting(7, 640))}, .decoding = 1, .free_pages = 50}),
            StartOf(7));
}

TEST(PlannerTest, ReservationDoesNotStopPromptsAlreadyBegun) {
  EXPECT_EQ(PlanOf({.prefills = {PassedOver(32, Waiting(1, 6400)), Begun(2, 640), Waiting(3, 10)}, .free_pages = 50}),
            ChunkOf(2));
}

TEST(PlannerTest, HighestOfSeveralStarvedRequestsHoldsTheReservation) {
  // 2 fits but ranks below 1, which lacks pages; once 1 has been served 2 is next.
  const PrefillCandidate first = PassedOver(40, Waiting(1, 6400)), second = PassedOver(40, Waiting(2, 1280));
  EXPECT_EQ(PlanOf({.prefills = {first, second}, .decoding = 1, .free_pages = 50}), kStep);
  EXPECT_EQ(PlanOf({.prefills = {second}, .decoding = 1, .free_pages = 50}), StartOf(2));
}

TEST(PlannerTest, RankIsPriorityThenArrival) {
  EXPECT_TRUE(RanksAbove({.priority = 1, .id = 9}, {.priority = 0, .id = 1}));
  EXPECT_FALSE(RanksAbove({.priority = 0, .id = 1}, {.priority = 1, .id = 9}));
  EXPECT_TRUE(RanksAbove({.id = 1}, {.id = 2}));
  EXPECT_FALSE(RanksAbove({.id = 2}, {.id = 2}));
}

TEST(PlannerTest, SizeClassesArePowersOfTwo) {
  EXPECT_EQ(SizeClass(0), SizeClass(1));
  EXPECT_EQ(SizeClass(64), SizeClass(127));
  EXPECT_EQ(SizeClass(128), SizeClass(127) + 1);
  EXPECT_EQ(SizeClass(int64_t{1} << 40), 41);
}

}  // namespace
}  // namespace slimfill::scheduler
