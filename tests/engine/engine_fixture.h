// Requests against the engine as a whole, on tiny models with random weights.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/ops/backend_factory.h"
#include "engine/pruned_engine.h"
#include "gtest/gtest.h"
#include "kvstore/core/local_store.h"
#include "tests/support/gguf_builder.h"
#include "tests/support/tiny_model.h"

namespace slimfill::engine {

inline constexpr char kHeadsPlan[] = R"({
  "name": "tiny", "local_blocks": [{"up_to_tokens": 0, "blocks": 2}],
  "stages": [{"prune_layer": 1, "keep_ratio": 0.5, "score": "heads", "heads": [[1, 2]]},
             {"prune_layer": 3, "keep_ratio": 0.25, "score": "heads", "heads": [[2, 0], [3, 1], [3, 3]]},
             {"prune_layer": 4, "keep_ratio": 0.2, "score": "previous"}]})";

// For a model whose heads look at few tokens (query_scale), so that links change what is kept.
inline constexpr char kLinksPlan[] = R"({
  "name": "tiny-links", "local_blocks": [{"up_to_tokens": 0, "blocks": 2}],
  "links": {"heads": [[1, 3], [0, 1]], "weight": 1},
  "stages": [{"prune_layer": 1, "keep_ratio": 0.5, "score": "heads", "heads": [[1, 2]]},
             {"prune_layer": 3, "keep_ratio": 0.25, "score": "heads", "heads": [[2, 0], [3, 1], [3, 3]]}]})";

inline constexpr char kPaperPlan[] = R"({
  "name": "tiny-paper", "local_blocks": [{"up_to_tokens": 0, "blocks": 1}], "swap_overlap": 1, "swap_margin": 0,
  "stages": [{"prune_layer": 2, "keep_tokens": 512, "score": "paper"},
             {"prune_layer": 4, "keep_tokens": 256, "score": "paper"}]})";

inline constexpr char kAttentionPlan[] = R"({
  "name": "tiny-attention", "local_blocks": [{"up_to_tokens": 0, "blocks": 2}],
  "stages": [{"prune_layer": 2, "keep_ratio": 0.5, "score": "attention"},
             {"prune_layer": 4, "keep_ratio": 0.25, "score": "attention"}]})";

struct Answer {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;  // of the chosen tokens and their best alternatives
  PrefillReport report;
  DecodeReport decode;
  friend bool operator==(const Answer& a, const Answer& b) { return a.tokens == b.tokens && a.logprobs == b.logprobs; }
};

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() {
    options_.layers = 6;
    auto store = kvstore::LocalKvStore::Create({}, clock_, nullptr);
    EXPECT_TRUE(store.ok());
    store_ = *std::move(store);
  }

  std::unique_ptr<StudyEngine> MakeEngine(const std::string& plan, int64_t chunk_tokens = 256,
                                          kvstore::KvStore* store = nullptr, int64_t kv_pages_bytes = 64 << 20,
                                          std::unique_ptr<Backend> backend = *MakeBackend("ref", {})) {
    PrunedEngineOptions options;
    options.model_path = testing::WriteTemporaryFile("tiny.gguf", testing::MakeTinyModelGguf(options_));
    options.plan = plan;
    if (plan != "off" && plan != "fast") {
      options.plan =
          testing::WriteTemporaryFile("plan.json", {reinterpret_cast<const std::byte*>(plan.data()),
                                                    reinterpret_cast<const std::byte*>(plan.data() + plan.size())});
    }
    options.prefix_layers = prefix_layers_;
    options.densify_min_value = densify_min_value_;
    options.chunk_tokens = chunk_tokens;
    options.kv_pages_bytes = kv_pages_bytes;
    options.swap_wait = options.store_wait = store_wait_;
    auto engine = MakePrunedEngine(options, std::move(backend), store == nullptr ? *store_ : *store, metrics_);
    EXPECT_TRUE(engine.ok()) << engine.status();
    return *std::move(engine);
  }

  static std::vector<TokenId> Prompt(int64_t tokens, uint32_t seed = 7) {
    std::vector<TokenId> prompt;
    for (int64_t i = 0; i < tokens; ++i) {
      seed = seed * 1664525 + 1013904223;
      prompt.push_back(static_cast<TokenId>('a' + (seed >> 24) % 26));
    }
    return prompt;
  }

  static SequenceRequest Request(std::vector<TokenId> prompt, PruningMode mode = PruningMode::kAuto,
                                 int max_tokens = 12) {
    SequenceRequest request;
    request.prompt = std::move(prompt);
    request.pruning.mode = mode;
    request.pruning.trace = true;
    request.sampling.max_tokens = max_tokens;
    request.sampling.logprobs = 20;
    request.sampling.ignore_eos = true;
    return request;
  }

  static void Record(const TokenEvent& event, Answer& answer) {
    answer.tokens.push_back(event.token);
    answer.logprobs.push_back(*event.logprob);
    for (const TokenLogprob& top : event.top_logprobs) answer.logprobs.push_back(top.logprob);
  }

  static Answer Run(Engine& engine, SequenceRequest request) {
    Answer answer;
    auto sequence = engine.Start(std::move(request));
    EXPECT_TRUE(sequence.ok()) << sequence.status();
    PrefillStep step;
    double fraction = 0;
    while (!step.done) {
      step = *engine.PrefillChunk(**sequence);
      EXPECT_GE(step.fraction_done, 0);
      EXPECT_LE(step.fraction_done, 1);
      fraction = step.fraction_done;
    }
    EXPECT_EQ(fraction, 1);
    TokenEvent event = *step.first_token;
    Record(event, answer);
    Sequence* batch[] = {sequence->get()};
    while (event.finish == FinishReason::kNone) {
      event = *std::move(engine.DecodeStep(batch)[0]);
      Record(event, answer);
    }
    answer.report = (*sequence)->prefill_report();
    answer.decode = (*sequence)->decode_report();
    return answer;
  }

  // Blocks are written behind: until the store has so many.
  void AwaitBlocks(uint64_t blocks) {
    while (store_->Stats(absl::InfiniteFuture())->blocks < blocks) absl::SleepFor(absl::Milliseconds(1));
  }

  SystemClock clock_;
  Metrics metrics_;
  int prefix_layers_ = 0;
  absl::Duration store_wait_ = absl::Seconds(30);  // a busy machine must not change an answer
  int64_t densify_min_value_ = 4096;
  testing::TinyModelOptions options_;
  std::unique_ptr<kvstore::LocalKvStore> store_;
};

// The whole forward pass against the definition, with the blocks that the engine itself chose to keep.
void ExpectNaiveAgrees(const testing::TinyModelOptions& options, const SequenceRequest& request, const Answer& answer);

}  // namespace slimfill::engine
