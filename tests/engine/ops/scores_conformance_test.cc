// Pruning scores against the reference.
#include <algorithm>
#include <numeric>

#include "tests/engine/ops/ops_test_util.h"

namespace slimfill::engine {
namespace {

class ScoresTest : public OpsTest {
 protected:
  struct Keys {
    Keys(Backend& backend, const AttentionShape& shape, const std::vector<int32_t>& blocks, int32_t last, uint32_t seed)
        : kv(backend, shape, blocks) {
      Random random(seed);
      const std::vector<int32_t> positions = PositionsOf(blocks, last);
      const int64_t count = static_cast<int64_t>(positions.size()) * shape.kv_cols();
      const std::vector<float> keys = random.Values(count, 2.0f);
      kv.Append(positions, keys, random.Values(count));
    }
    TestKv kv;
  };

  void CheckMass(MassQuery query, const AttentionShape& shape, const std::vector<int32_t>& blocks, int32_t last) {
    Keys got_keys(*backend_, shape, blocks, last, 31), want_keys(*ref_, shape, blocks, last, 31);
    for (const auto& [unit, mean] : {std::pair{8, false}, {64, false}, {8, true}, {64, true}}) {
      query.unit_tokens = unit;
      query.mean = mean;
      const size_t units = blocks.size() * (kBlockTokens / unit);
      std::vector<float> got(query.heads.size() * units + 1, 7.0f), want(query.heads.size() * units);
      backend_->AttentionMass(query, shape, got_keys.kv.view(), absl::MakeSpan(got).first(want.size()));
      ref_->AttentionMass(query, shape, want_keys.kv.view(), absl::MakeSpan(want));
      EXPECT_EQ(got.back(), 7.0f);
      got.pop_back();
      EXPECT_LE(RowError(got, want, std::max<size_t>(units, 1)), 1e-4)
          << shape.head_dim << ", units of " << unit << (mean ? ", mean" : "");
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, ScoresTest, testing::ValuesIn(BackendCases()), BackendCaseName);

TEST_P(ScoresTest, MassMatchesReference) {
  const std::vector<int32_t> blocks = {0, 1, 4, 5, 11};
  const int32_t last = 11 * 64 + 40;
  for (const AttentionShape& shape : {AttentionShape{14, 2, 64}, {3, 3, 16}, {7, 1, 80}, {4, 2, 96}, {2, 1, 128}}) {
    for (int rows : {0, 1, 2, 8, 33, 64}) {
      Random random(30);
      const std::vector<float> q = random.Values(int64_t{rows} * shape.q_cols());
      std::vector<int32_t> positions(rows);
      for (int i = 0; i < rows; ++i) positions[i] = last - rows + 1 + i;
      const std::vector<int> heads = {shape.heads - 1, 0};
      CheckMass({.q = q, .positions = positions, .heads = heads, .end_position = last + 1}, shape, blocks, last);
    }
  }
}

TEST_P(ScoresTest, TokensLookBackToTheFarUnitWithMostMass) {
  for (const AttentionShape& shape : {AttentionShape{14, 2, 64}, {3, 3, 16}, {7, 1, 80}, {4, 2, 96}, {2, 1, 128}}) {
    const std::vector<int> heads = {shape.heads - 1, 0};
    constexpr int kFirst = 150, kRows = 300, kLast = kFirst + kRows - 1;
    std::vector<int32_t> blocks(kLast / 64 + 1), positions(kRows);
    std::iota(blocks.begin(), blocks.end(), 0);
    std::iota(positions.begin(), positions.end(), kFirst);
    Keys got_keys(*backend_, shape, blocks, kLast, 33), want_keys(*ref_, shape, blocks, kLast, 33);
    Random random(34);
    const std::vector<float> q = random.Values(int64_t{kRows} * shape.q_cols(), 2.0f);
    const TestMatrix got_q(*backend_, backend_->activation_dtype(), kRows, shape.q_cols(), q);
    std::vector<FarLook> got(kRows * heads.size());
    backend_->LookBack(got_q.view(), positions, heads, shape, got_keys.kv.view(), absl::MakeSpan(got));
    std::vector<float> mass(heads.size() * blocks.size() * 8);
    for (int row = 0; row < kRows; ++row) {
      const auto row_q = absl::MakeConstSpan(q).subspan(int64_t{row} * shape.q_cols(), shape.q_cols());
      ref_->AttentionMass({.q = row_q,
                           .positions = absl::MakeConstSpan(positions).subspan(row, 1),
                           .heads = heads,
                           .end_position = kLast + 1},
                          shape, want_keys.kv.view(), absl::MakeSpan(mass));
      for (size_t head = 0; head < heads.size(); ++head) {
        const FarLook look = got[row * heads.size() + head];
        const float* units = mass.data() + head * blocks.size() * 8;
        const int end = positions[row] / 8 - 12;  // blocks 0 and what begins less than 13 units before are not far
        if (end <= 8) {
          EXPECT_EQ(look, FarLook());
          continue;
        }
        ASSERT_TRUE(look.unit >= 8 && look.unit < end) << look.unit << " of " << end;
        EXPECT_NEAR(look.mass, units[look.unit], 0.02) << "row " << row;
        EXPECT_NEAR(units[look.unit], *std::max_element(units + 8, units + end), 0.02) << "row " << row;
      }
    }
  }
}

TEST_P(ScoresTest, ATokenLooksBackTheSameWayAloneAndAmongOthers) {
  const AttentionShape shape{4, 2, 64};
  const std::vector<int> heads = {1, 2};
  const std::vector<int32_t> blocks = {0, 1, 2, 3, 4};
  constexpr int kRows = 100, kFirst = 220;
  std::vector<int32_t> positions(kRows);
  std::iota(positions.begin(), positions.end(), kFirst);
  Keys keys(*backend_, shape, blocks, kFirst + kRows - 1, 31);
  Random random(35);
  const TestMatrix q(*backend_, backend_->activation_dtype(), kRows, shape.q_cols(),
                     random.Values(int64_t{kRows} * shape.q_cols(), 2.0f));
  std::vector<FarLook> all(kRows * 2), parts(kRows * 2);
  backend_->LookBack(q.view(), positions, heads, shape, keys.kv.view(), absl::MakeSpan(all));
  for (int row = 0; row < kRows; row += 7) {
    const int count = std::min(7, kRows - row);
    const auto part = absl::MakeConstSpan(positions).subspan(row, count);
    // With no more blocks than it can see.
    backend_->LookBack(q.view().Rows(row, count), part, heads, shape, keys.kv.view().first(part.back() / 64 + 1),
                       absl::MakeSpan(parts).subspan(row * 2, count * 2));
  }
  EXPECT_EQ(parts, all);
}

// Also where a larger score lies between them.
TEST_P(ScoresTest, ATokenLooksBackToTheFirstOfEqualUnits) {
  const AttentionShape shape{1, 1, 16};
  constexpr int kTokens = 384;
  std::vector<int32_t> blocks(kTokens / 64), positions(kTokens);
  std::iota(blocks.begin(), blocks.end(), 0);
  std::iota(positions.begin(), positions.end(), 0);
  std::vector<float> keys(kTokens * 16);  // what is not set below has the score 0
  for (int token = 0; token < 8; ++token) {
    for (const int unit : {9, 21, 30}) keys[(unit * 8 + token) * 16] = 16 + static_cast<float>(token) / 8;
  }
  keys[16 * 8 * 16] = 18;  // largest alone, but not with its unit
  TestKv kv(*backend_, shape, blocks);
  kv.Append(positions, keys, keys);
  std::vector<float> q(kTokens * 16);
  for (int i = 0; i < kTokens; ++i) q[i * 16] = 4;
  const std::vector<int> heads = {0};
  const TestMatrix queries(*backend_, backend_->activation_dtype(), kTokens, 16, q);
  std::vector<FarLook> looks(kTokens);
  backend_->LookBack(queries.view(), positions, heads, shape, kv.view(), absl::MakeSpan(looks));
  for (int i = 0; i < kTokens; ++i) {
    const int end = i / 8 - 12;  // of the far units
    EXPECT_EQ(looks[i].unit, end <= 8 ? -1 : end == 9 ? 8 : 9) << "position " << i;
    EXPECT_EQ(looks[i].mass > 0, end > 8) << "position " << i;
  }
}

TEST_P(ScoresTest, MeanMassOfAllUnitsIsOne) {
  // Every row sees something, so its masses add up to one, and so do their means.
  const std::vector<int32_t> blocks = {0, 1, 2};
  const AttentionShape shape{4, 2, 64};
  constexpr int kRows = 19;
  Random random(35);
  const std::vector<float> q = random.Values(int64_t{kRows} * shape.q_cols());
  std::vector<int32_t> positions(kRows);
  for (int i = 0; i < kRows; ++i) positions[i] = 5 * i;
  const std::vector<int> heads = {0, 3};
  Keys keys(*backend_, shape, blocks, 191, 31);
  std::vector<float> got(heads.size() * blocks.size());
  backend_->AttentionMass(
      {.q = q, .positions = positions, .heads = heads, .end_position = 192, .unit_tokens = 64, .mean = true}, shape,
      keys.kv.view(), absl::MakeSpan(got));
  for (size_t head = 0; head < heads.size(); ++head) {
    EXPECT_NEAR(got[head * 3] + got[head * 3 + 1] + got[head * 3 + 2], 1, 1e-4);
    EXPECT_EQ(got[head * 3 + 2], 0) << "the last row is at position 90";
  }
}

TEST_P(ScoresTest, MassSeesOnlyWhatItMay) {
  const std::vector<int32_t> blocks = {0, 1, 4, 5, 11};
  const AttentionShape shape{4, 2, 64};
  Random random(32);
  const std::vector<float> q = random.Values(3 * shape.q_cols());
  const std::vector<int32_t> positions = {70, 4 * 64 + 1, 11 * 64 + 63};
  const std::vector<int> heads = {2};
  const std::vector<uint8_t> excluded = {1, 0, 0, 1, 0};
  const MassQuery query{
      .q = q, .positions = positions, .heads = heads, .excluded = excluded, .end_position = 11 * 64 + 30};
  CheckMass(query, shape, blocks, 11 * 64 + 63);

  Keys keys(*backend_, shape, blocks, 11 * 64 + 63, 31);
  std::vector<float> got(blocks.size() * 8);
  backend_->AttentionMass(query, shape, keys.kv.view(), absl::MakeSpan(got));
  for (int unit = 0; unit < 8; ++unit) {
    EXPECT_EQ(got[unit], 0) << "an excluded block";
    EXPECT_EQ(got[3 * 8 + unit], 0) << "an excluded block";
  }
  EXPECT_GT(got[4 * 8 + 3], 0) << "positions 728 and 729 lie before the end";
  for (int unit = 4; unit < 8; ++unit) EXPECT_EQ(got[4 * 8 + unit], 0) << "beyond the end";
}

TEST_P(ScoresTest, ARowThatSeesNothingAddsNothing) {
  const AttentionShape shape{1, 1, 64};
  Random random(33);
  const std::vector<float> q = random.Values(shape.q_cols());
  const std::vector<int32_t> positions = {10};
  const std::vector<int> heads = {0};
  Keys keys(*backend_, shape, {4}, 4 * 64 + 63, 34);
  std::vector<float> got(8, 7.0f);
  backend_->AttentionMass({.q = q, .positions = positions, .heads = heads, .end_position = 1000}, shape, keys.kv.view(),
                          absl::MakeSpan(got));
  EXPECT_EQ(got, std::vector<float>(8));
}

TEST_P(ScoresTest, UnitMeanKeysMatchReference) {
  const std::vector<int32_t> blocks = {0, 1, 4, 5, 11};
  const int32_t last = 11 * 64 + 43;
  for (const AttentionShape& shape : {AttentionShape{14, 2, 64}, {3, 3, 16}, {7, 1, 80}, {4, 2, 96}, {2, 1, 128}}) {
    Keys got_keys(*backend_, shape, blocks, last, 35), want_keys(*ref_, shape, blocks, last, 35);
    for (int32_t end : {0, 1, 70, 4 * 64 + 12, last + 1, 5000}) {
      const size_t count = blocks.size() * 8 * shape.kv_cols();
      std::vector<float> got(count + 1, 7.0f), want(count);
      backend_->UnitMeanKeys(end, shape, got_keys.kv.view(), absl::MakeSpan(got).first(count));
      ref_->UnitMeanKeys(end, shape, want_keys.kv.view(), absl::MakeSpan(want));
      EXPECT_EQ(got.back(), 7.0f);
      got.pop_back();
      EXPECT_LE(RowError(got, want, shape.head_dim), 1e-6) << shape.head_dim << ", end " << end;
    }
  }
}

TEST_P(ScoresTest, AnEmptyViewGivesNothing) {
  const AttentionShape shape{2, 1, 64};
  Random random(36);
  const std::vector<float> q = random.Values(shape.q_cols());
  const std::vector<int32_t> positions = {10};
  const std::vector<int> heads = {0};
  std::vector<float> none;
  backend_->AttentionMass({.q = q, .positions = positions, .heads = heads, .end_position = 64}, shape, {},
                          absl::MakeSpan(none));
  backend_->UnitMeanKeys(64, shape, {}, absl::MakeSpan(none));
}

}  // namespace
}  // namespace slimfill::engine
