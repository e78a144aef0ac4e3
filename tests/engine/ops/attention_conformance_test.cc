// Attention against the reference: causal by position, over blocks with gaps.
#include <algorithm>

#include "tests/engine/ops/ops_test_util.h"

namespace slimfill::engine {
namespace {

// Keys and values at every position of `blocks` up to `last`, and queries at some positions.
struct Scene {
  AttentionShape shape;
  std::vector<int32_t> blocks;
  int32_t last = 0;
  std::vector<int32_t> query_positions;
  float amplitude = 1.0f;
};

struct SceneData {
  SceneData(const Scene& scene, Random& random)
      : positions(PositionsOf(scene.blocks, scene.last)),
        keys(random.Values(static_cast<int64_t>(positions.size()) * scene.shape.kv_cols(), scene.amplitude)),
        values(random.Values(static_cast<int64_t>(positions.size()) * scene.shape.kv_cols())),
        q(random.Values(static_cast<int64_t>(scene.query_positions.size()) * scene.shape.q_cols(), scene.amplitude)) {}
  std::vector<int32_t> positions;
  std::vector<float> keys, values, q;
};

// The scene on a backend.
struct Staged {
  Staged(Backend& backend, const Scene& scene, const SceneData& data)
      : kv(backend, scene.shape, scene.blocks),
        q(backend, backend.activation_dtype(), static_cast<int64_t>(scene.query_positions.size()), scene.shape.q_cols(),
          data.q),
        out(backend, backend.activation_dtype(), static_cast<int64_t>(scene.query_positions.size()),
            scene.shape.q_cols()) {
    kv.Append(data.positions, data.keys, data.values);
  }
  TestKv kv;
  TestMatrix q, out;
};

std::string Describe(const Scene& scene) {
  return std::to_string(scene.shape.heads) + "/" + std::to_string(scene.shape.kv_heads) + "x" +
         std::to_string(scene.shape.head_dim) + ", " + std::to_string(scene.query_positions.size()) + " queries, " +
         std::to_string(scene.blocks.size()) + " blocks";
}

class AttentionTest : public OpsTest {
 protected:
  void CheckPrefill(const Scene& scene, Random& random) {
    const SceneData data(scene, random);
    Staged staged(*backend_, scene, data), want(*ref_, scene, data);
    backend_->Attention(staged.q.view(), scene.query_positions, scene.shape, staged.kv.view(), staged.out.view());
    ref_->Attention(want.q.view(), scene.query_positions, scene.shape, want.kv.view(), want.out.view());
    EXPECT_LE(RowError(staged.out.Read(), want.out.Read(), scene.shape.q_cols()), Tolerance(*backend_, 0, 6e-3))
        << Describe(scene);
    CheckRowsAlone(scene, staged);
  }

  // A row alone, with no blocks after its own, has the same bits.
  void CheckRowsAlone(const Scene& scene, const Staged& staged) {
    const int64_t rows = static_cast<int64_t>(scene.query_positions.size());
    for (int64_t row = 0; row < rows; row += std::max<int64_t>(1, rows / 5)) {
      const int32_t position = scene.query_positions[row];
      const auto end = std::upper_bound(scene.blocks.begin(), scene.blocks.end(), position / kBlockTokens);
      TestMatrix alone(*backend_, act(), 1, scene.shape.q_cols());
      backend_->Attention(staged.q.view().Rows(row, 1), {position}, scene.shape,
                          staged.kv.first(end - scene.blocks.begin()), alone.view());
      EXPECT_EQ(alone.RowBytes(0), staged.out.RowBytes(row)) << "row " << row << " of " << Describe(scene);
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Backends, AttentionTest, testing::ValuesIn(BackendCases()), BackendCaseName);

const AttentionShape kShapes[] = {{1, 1, 16},  {3, 3, 16}, {3, 1, 64},  {14, 2, 64}, {7, 1, 80},
                                  {6, 2, 96},  {4, 4, 96}, {7, 1, 128}, {4, 2, 128}, {6, 2, 48},
                                  {2, 1, 112}, {2, 2, 32}, {12, 12, 16}};

TEST_P(AttentionTest, CausalOverAWholePrompt) {
  Random random(20);
  for (const AttentionShape& shape : kShapes) {
    for (int32_t tokens : {1, 2, 63, 64, 65, 129, 200}) {
      Scene scene{.shape = shape, .last = tokens - 1};
      for (int32_t block = 0; block * kBlockTokens < tokens; ++block) scene.blocks.push_back(block);
      scene.query_positions = PositionsOf(scene.blocks, scene.last);
      CheckPrefill(scene, random);
    }
  }
}

TEST_P(AttentionTest, ManyRowsInManyTiles) {
  Random random(21);
  Scene scene{.shape = {14, 2, 64}, .blocks = {0, 1, 2, 3, 4, 5, 6, 7}, .last = 499};
  scene.query_positions = PositionsOf(scene.blocks, scene.last);
  CheckPrefill(scene, random);
}

TEST_P(AttentionTest, GapsInBlocksAndPositions) {
  Random random(22);
  for (const AttentionShape& shape : kShapes) {
    Scene scene{.shape = shape, .blocks = {0, 3, 4, 9, 20}, .last = 20 * 64 + 17};
    for (int32_t position : PositionsOf(scene.blocks, scene.last)) {
      if (position % 5 == 0 || position / 64 == 4) scene.query_positions.push_back(position);
    }
    CheckPrefill(scene, random);
  }
}

TEST_P(AttentionTest, ChunkInTheMiddle) {
  Random random(23);
  for (const AttentionShape& shape : kShapes) {
    Scene scene{.shape = shape, .blocks = {0, 1, 2, 5, 6, 7}, .last = 7 * 64 + 63};
    for (int32_t position : PositionsOf({2, 5}, 5 * 64 + 40)) {
      if (position >= 2 * 64 + 13) scene.query_positions.push_back(position);
    }
    CheckPrefill(scene, random);
  }
}

TEST_P(AttentionTest, NoRowsIsNothing) {
  Random random(24);
  CheckPrefill({.shape = {3, 1, 64}, .blocks = {0}, .last = 10}, random);
}

TEST_P(AttentionTest, LargeScoresAreStable) {  // up to +-6400 before scaling
  Random random(25);
  Scene scene{.shape = {4, 2, 64}, .blocks = {0, 1, 2, 3}, .last = 255, .amplitude = 10.0f};
  scene.query_positions = PositionsOf(scene.blocks, scene.last);
  CheckPrefill(scene, random);
}

TEST_P(AttentionTest, RowsBeforeAllKeysGiveZeros) {
  Random random(26);
  const Scene scene{.shape = {3, 1, 64}, .blocks = {4}, .last = 4 * 64 + 63, .query_positions = {3, 4 * 64 + 5}};
  const SceneData data(scene, random);
  Staged staged(*backend_, scene, data);
  backend_->Attention(staged.q.view(), scene.query_positions, scene.shape, staged.kv.view(), staged.out.view());
  const std::vector<float> got = staged.out.Read();
  EXPECT_TRUE(std::all_of(got.begin(), got.begin() + scene.shape.q_cols(), [](float x) { return x == 0; }));
  EXPECT_FALSE(std::all_of(got.begin() + scene.shape.q_cols(), got.end(), [](float x) { return x == 0; }));
}

TEST_P(AttentionTest, KeysAfterTheQueryChangeNothing) {
  Random random(27);
  Scene scene{.shape = {6, 2, 80}, .blocks = {0, 1, 2}, .last = 191};
  scene.query_positions = {0, 5, 63, 64, 90};
  const SceneData data(scene, random);
  Staged staged(*backend_, scene, data);
  backend_->Attention(staged.q.view(), scene.query_positions, scene.shape, staged.kv.view(), staged.out.view());
  const std::vector<float> before = staged.out.Read();
  const std::vector<float> huge(101 * scene.shape.kv_cols(), 1e30f);
  std::vector<int32_t> later(101);
  for (int i = 0; i < 101; ++i) later[i] = 91 + i;
  staged.kv.Append(later, huge, huge);
  backend_->Attention(staged.q.view(), scene.query_positions, scene.shape, staged.kv.view(), staged.out.view());
  EXPECT_EQ(staged.out.Read(), before);
}

class AttentionDecodeTest : public OpsTest {};
INSTANTIATE_TEST_SUITE_P(Backends, AttentionDecodeTest, testing::ValuesIn(BackendCases()), BackendCaseName);

TEST_P(AttentionDecodeTest, MatchesReferenceInEveryBatch) {
  Random random(28);
  std::vector<int32_t> long_blocks;
  for (int32_t block = 0; block < 37; ++block) long_blocks.push_back(block + (block > 20 ? 5 : 0));
  for (const AttentionShape& shape : {AttentionShape{14, 2, 64}, {3, 1, 80}, {4, 4, 16}, {8, 2, 128}}) {
    std::vector<Scene> scenes;
    for (const std::vector<int32_t>& blocks :
         {std::vector<int32_t>{0}, {0, 1}, {0, 2, 5}, {0, 1, 2, 3, 4, 5, 6}, long_blocks}) {
      const int32_t last = blocks.back() * kBlockTokens + 29;
      scenes.push_back({.shape = shape, .blocks = blocks, .last = last, .query_positions = {last}});
    }
    std::vector<std::unique_ptr<Staged>> staged;
    std::vector<KvLayerView> views;
    std::vector<int32_t> positions;
    std::vector<float> q, want;
    for (const Scene& scene : scenes) {
      const SceneData data(scene, random);
      staged.push_back(std::make_unique<Staged>(*backend_, scene, data));
      views.push_back(staged.back()->kv.view());
      positions.push_back(scene.last);
      q.insert(q.end(), data.q.begin(), data.q.end());
      Staged truth(*ref_, scene, data);
      ref_->Attention(truth.q.view(), scene.query_positions, shape, truth.kv.view(), truth.out.view());
      const std::vector<float> row = truth.out.Read();
      want.insert(want.end(), row.begin(), row.end());
    }
    const int64_t rows = static_cast<int64_t>(scenes.size());
    TestMatrix queries(*backend_, act(), rows, shape.q_cols(), q), out(*backend_, act(), rows, shape.q_cols());
    backend_->AttentionDecode(queries.view(), positions, shape, views, out.view());
    EXPECT_LE(RowError(out.Read(), want, shape.q_cols()), Tolerance(*backend_, 0, 6e-3));
    for (int64_t row = 0; row < rows; ++row) {
      TestMatrix alone(*backend_, act(), 1, shape.q_cols());
      backend_->AttentionDecode(queries.view().Rows(row, 1), {positions[row]}, shape, {views[row]}, alone.view());
      EXPECT_EQ(alone.RowBytes(0), out.RowBytes(row));
    }
  }
}

TEST_P(AttentionDecodeTest, NoRowsIsNothing) {
  const AttentionShape shape{3, 1, 64};
  TestMatrix q(*backend_, act(), 0, shape.q_cols()), out(*backend_, act(), 0, shape.q_cols());
  backend_->AttentionDecode(q.view(), {}, shape, {}, out.view());
  EXPECT_TRUE(out.Read().empty());
}

}  // namespace
}  // namespace slimfill::engine
