#include "tests/engine/engine_fixture.h"

#include <algorithm>
#include <map>

#include "tests/support/naive_decoder.h"

namespace slimfill::engine {

void ExpectNaiveAgrees(const testing::TinyModelOptions& options, const SequenceRequest& request, const Answer& answer) {
  const std::vector<std::byte> bytes = testing::MakeTinyModelGguf(options);
  const auto file = GgufFile::Parse(bytes, "tiny");
  ASSERT_TRUE(file.ok());
  const ModelConfig config = *ReadModelConfig(**file);
  const ModelWeights weights = *ReadModelWeights(**file, config);
  std::map<int, std::vector<int32_t>> kept;
  for (const PruneTraceStage& stage : answer.report.trace) kept[stage.prune_layer] = stage.kept_blocks;
  const std::vector<double> expected = testing::NaiveLogprobs(config, weights, request.prompt, kept);
  const TokenId best = static_cast<TokenId>(std::max_element(expected.begin(), expected.end()) - expected.begin());
  EXPECT_EQ(answer.tokens.front(), best);
  EXPECT_NEAR(answer.logprobs.front(), expected[best], 1e-3);
  std::vector<double> sorted = expected;
  std::sort(sorted.rbegin(), sorted.rend());
  for (int i = 0; i < 20; ++i) EXPECT_NEAR(answer.logprobs[1 + i], sorted[i], 1e-3) << i;
}

}  // namespace slimfill::engine
