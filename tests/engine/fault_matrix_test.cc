// What a request comes to when the KV store fails it, row by row: docs/operations.md has the same table for people.
#include <ostream>

#include "kvstore/client/faulty_kv_store.h"
#include "tests/engine/engine_fixture.h"

namespace slimfill::engine {
namespace {

using kvstore::Fault;
using kvstore::FaultyKvStore;
using Kind = Fault::Kind;
using Operation = FaultyKvStore::Operation;

constexpr int kEveryCall = 1000000;
constexpr uint64_t kDocumentBlocks = 15;

struct Row {
  const char* name;
  Operation operation;
  Fault fault;
  bool reuses = false;  // whether the second question about a document still reuses what the first has stored
};

void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

const Row kRows[] = {
    {"MatchRefused", Operation::kMatchPrefix, {.kind = Kind::kError}},
    {"MatchHangs", Operation::kMatchPrefix, {.kind = Kind::kHang}},
    {"MatchFindsNothing", Operation::kMatchPrefix, {.kind = Kind::kMiss}},
    {"MatchIsSlow", Operation::kMatchPrefix, {.kind = Kind::kSlow, .delay = absl::Milliseconds(3)}, /*reuses=*/true},
    {"FetchRefused", Operation::kFetch, {.kind = Kind::kError}},
    {"FetchHangs", Operation::kFetch, {.kind = Kind::kHang}},
    {"FetchMisses", Operation::kFetch, {.kind = Kind::kMiss}},
    {"FetchFindsDamage", Operation::kFetch, {.kind = Kind::kBitFlip}, /*reuses=*/true},  // before the damaged block
    {"PutRefused", Operation::kPut, {.kind = Kind::kError}},
    {"PutFull", Operation::kPut, {.kind = Kind::kError, .code = absl::StatusCode::kResourceExhausted}},
    {"PutLost", Operation::kPut, {.kind = Kind::kLostPut}},
    {"OpenPrivateRefused", Operation::kOpenPrivate, {.kind = Kind::kError}, /*reuses=*/true},
    {"RenewRefused", Operation::kRenew, {.kind = Kind::kError}, /*reuses=*/true},
    {"ReleaseLost", Operation::kRelease, {.kind = Kind::kError}, /*reuses=*/true},
};

class FaultMatrixTest : public EngineTest, public ::testing::WithParamInterface<Row> {
 protected:
  FaultMatrixTest() {
    // A healthy store on a busy machine gets all the time it needs; one that hangs must not get that much.
    if (GetParam().fault.kind == Kind::kHang) store_wait_ = absl::Milliseconds(50);
  }

  SequenceRequest Question(uint32_t seed, int max_tokens = 1) const {
    std::vector<TokenId> prompt = Prompt(1000);
    for (const TokenId token : Prompt(60, seed)) prompt.push_back(token);
    return Request(prompt, PruningMode::kAuto, max_tokens);
  }
  Answer Reference(StudyEngine& engine, SequenceRequest request) {
    request.no_store = true;
    return Run(engine, std::move(request));
  }

  FaultyKvStore faulty_{*store_, clock_, [](absl::Duration time) { absl::SleepFor(time); }};
};

INSTANTIATE_TEST_SUITE_P(Rows, FaultMatrixTest, ::testing::ValuesIn(kRows),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(FaultMatrixTest, AnswersAreRightByRecomputeAndReuseComesBack) {
  const Row& row = GetParam();
  const bool fails_storing = row.operation == Operation::kPut;
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kHeadsPlan, 256, &faulty_);
  if (fails_storing) faulty_.Script(row.operation, row.fault, kEveryCall);
  const Answer first = Run(*engine, Question(1)), first_reference = Reference(*engine, Question(1));
  EXPECT_EQ(first, first_reference);
  if (!fails_storing) {
    AwaitBlocks(kDocumentBlocks);
    faulty_.Script(row.operation, row.fault, kEveryCall);
  }

  const Answer second = Run(*engine, Question(2));
  EXPECT_EQ(second, Reference(*engine, Question(2)));
  if (row.fault.kind == Kind::kBitFlip) {
    EXPECT_LT(second.report.cached_tokens, 960);
  } else {
    EXPECT_EQ(second.report.cached_tokens, row.reuses ? 960 : 0);
  }

  faulty_.Heal();
  if (fails_storing) {
    Run(*engine, Question(3));
    AwaitBlocks(kDocumentBlocks);
  }
  const Answer healed = Run(*engine, Question(4));
  EXPECT_EQ(healed, Reference(*engine, Question(4)));
  EXPECT_EQ(healed.report.cached_tokens, 960);
  EXPECT_EQ(engine->pages_used(), 0) << "nothing leaks";
}

TEST_P(FaultMatrixTest, DecodingGoesOnWithWhatItHas) {
  const Row& row = GetParam();
  faulty_.Script(row.operation, row.fault, kEveryCall);
  const std::unique_ptr<StudyEngine> engine = MakeEngine(kPaperPlan, 256, &faulty_);
  const Answer answer = Run(*engine, Question(1, /*max_tokens=*/40));
  EXPECT_EQ(answer.tokens.size(), 40u);
  const bool blocks_come = row.operation != Operation::kFetch && row.operation != Operation::kPut &&
                           row.operation != Operation::kOpenPrivate;
  if (blocks_come && store_wait_ > absl::Seconds(1)) {
    EXPECT_EQ(answer, Run(*MakeEngine(kPaperPlan), Question(1, 40))) << "the store's health changes no token";
  }
  EXPECT_EQ(engine->pages_used(), 0) << "nothing leaks";
}

}  // namespace
}  // namespace slimfill::engine
