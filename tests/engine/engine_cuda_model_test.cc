// A real model on the emulated CUDA device: a question about a short document, pruned by the model's own plan and
// dense, answered as by the CPU backend.
#include "base/clock.h"
#include "engine/ops/backend_factory.h"
#include "engine/pruned_engine.h"
#include "gtest/gtest.h"
#include "kvstore/core/local_store.h"
#include "tests/support/golden.h"

namespace slimfill::engine {
namespace {

struct Answer {
  std::string text;
  std::vector<TokenId> tokens;
  std::vector<std::vector<int32_t>> kept;  // blocks, by pruning
  int64_t swaps = 0;
};

class CudaModelTest : public ::testing::Test {
 protected:
  std::unique_ptr<StudyEngine> MakeEngine(const char* backend) {
    const std::string path = testing::ModelPath(testing::kSmolModelFile);
    PrunedEngineOptions options;
    options.model_path = path;
    options.max_context = 2048;
    options.kv_pages_bytes = 256 << 20;
    options.swap_wait = options.store_wait = absl::Seconds(60);  // the emulator is slow: that must not change an answer
    store_ = *kvstore::LocalKvStore::Create({}, clock_, nullptr);
    auto engine = MakePrunedEngine(options, *MakeBackend(backend, {}), *store_, metrics_);
    EXPECT_TRUE(engine.ok()) << engine.status() << "\n" << testing::MissingModelText(path);
    return *std::move(engine);
  }

  // A list of rooms and their keys, and a question about one of them.
  static std::string Document() {
    std::string text;
    for (int room = 1; room <= 24; ++room) {
      text += "Room " + std::to_string(room) + " is cleaned every day and its key has the number " +
              std::to_string(1000 + room * 37 % 991) + ". ";
    }
    return text;
  }

  static Answer Ask(StudyEngine& engine, PruningMode mode) {
    const ChatTemplate& chat = *engine.chat_template();
    const auto rendered = chat.Render({{"user", Document() + "\n\nWhat is the number of the key of room 17?"}});
    SequenceRequest request;
    request.prompt = rendered->tokens;
    request.pruning.mode = mode;
    request.pruning.trace = true;
    if (mode == PruningMode::kCustom) request.pruning.keep_ratio = {0.5};
    request.sampling.max_tokens = 6;
    auto sequence = engine.Start(std::move(request));
    EXPECT_TRUE(sequence.ok()) << sequence.status();
    PrefillStep step;
    while (!step.done) step = *engine.PrefillChunk(**sequence);
    Answer answer;
    TokenEvent event = *step.first_token;
    Sequence* batch[] = {sequence->get()};
    while (true) {
      answer.text += event.text;
      answer.tokens.push_back(event.token);
      if (event.finish != FinishReason::kNone) break;
      event = *std::move(engine.DecodeStep(batch)[0]);
    }
    for (const PruneTraceStage& stage : (*sequence)->prefill_report().trace) answer.kept.push_back(stage.kept_blocks);
    answer.swaps = (*sequence)->decode_report().swaps;
    return answer;
  }

  void CheckAnswer(PruningMode mode) {
    const Answer cpu = Ask(*MakeEngine("cpu"), mode), cuda = Ask(*MakeEngine("cuda"), mode);
    EXPECT_EQ(cuda.kept, cpu.kept);
    EXPECT_EQ(cuda.tokens, cpu.tokens) << cuda.text << "\nand\n" << cpu.text;
    EXPECT_EQ(cuda.kept.empty(), mode == PruningMode::kOff);
  }

  SystemClock clock_;
  Metrics metrics_;
  std::unique_ptr<kvstore::LocalKvStore> store_;
};

TEST_F(CudaModelTest, SmolLM2AnswersPrunedAsOnTheCpu) { CheckAnswer(PruningMode::kCustom); }
TEST_F(CudaModelTest, SmolLM2AnswersDenseAsOnTheCpu) { CheckAnswer(PruningMode::kOff); }

}  // namespace
}  // namespace slimfill::engine
