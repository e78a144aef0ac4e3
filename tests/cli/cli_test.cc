#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nlohmann/json.hpp"
#include "tests/cli/cli_fixture.h"

namespace slimfill::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST_F(CliTest, AskStreamsTheAnswerToStdoutAndTheSummaryToStderr) {
  const std::string file = Write("doc.txt", std::string(5000, 'x'));
  const Output output = Run("ask --file " + file + " --max-tokens 3 'What is it?'");
  EXPECT_EQ(output.exit_code, 0) << output.err;
  EXPECT_EQ(output.out, "0 1 2 \n");
  EXPECT_THAT(output.err, AllOf(HasSubstr("ttft"), HasSubstr("tokens/s"), HasSubstr("kept per stage: "),
                                HasSubstr("served by cold"), HasSubstr("speedup")));
  EXPECT_THAT(output.err, HasSubstr("prefill "));  // lines, as stderr is no terminal
}

TEST_F(CliTest, JsonHasWhatProgramsNeed) {
  const std::string file = Write("doc.txt", std::string(5000, 'x'));
  const Output output = Run("ask --json --max-tokens 3 --seed 7 --file " + file + " 'What is it?'");
  ASSERT_EQ(output.exit_code, 0) << output.err;
  EXPECT_EQ(output.err, "");
  const json answer = json::parse(output.out);
  EXPECT_EQ(answer["text"], "0 1 2 ");
  EXPECT_GT(answer["prompt_tokens"], 5000);
  EXPECT_EQ(answer["cached_tokens"], 0);
  EXPECT_EQ(answer["output_tokens"], 3);
  EXPECT_EQ(answer["finish_reason"], "length");
  EXPECT_EQ(answer["pruned"], true);
  EXPECT_EQ(answer["served_by"], "cold");
  EXPECT_EQ(answer["seed"], 7);
  EXPECT_EQ(answer["kept_tokens"].size(), 2u);
  EXPECT_TRUE(answer["fallbacks"].is_array());
  EXPECT_TRUE(answer.contains("dense_equivalent_ttft_ms"));
  for (const char* key : {"ttft_ms", "prefill_ms", "queue_ms", "total_ms"}) EXPECT_TRUE(answer[key].is_number()) << key;
}

TEST_F(CliTest, PruningOffRunsDense) {
  const Output output =
      Run("ask --json --max-tokens 1 --pruning off --file " + Write("doc.txt", std::string(5000, 'x')) + " q");
  EXPECT_EQ(json::parse(output.out)["served_by"], "dense");
}

TEST_F(CliTest, DocumentComesFromStandardInputToo) {
  const int64_t alone = json::parse(Run("ask --json --max-tokens 1 q").out)["prompt_tokens"];
  const int64_t piped = json::parse(Run("ask --json --max-tokens 1 q", "0123456789\n").out)["prompt_tokens"];
  const int64_t dashed = json::parse(Run("ask --json --max-tokens 1 --file - q", "0123456789\n").out)["prompt_tokens"];
  EXPECT_EQ(piped, alone + 12);  // the document and an empty line
  EXPECT_EQ(dashed, piped);
}

TEST_F(CliTest, SeveralDocumentsAndQuestionFirst) {
  const std::string files = "--file " + Write("a", "A\n") + " --file " + Write("b", "B\n");
  const int64_t last = json::parse(Run("ask --json --max-tokens 1 " + files + " question").out)["prompt_tokens"];
  const int64_t both =
      json::parse(Run("ask --json --max-tokens 1 --question-first " + files + " question").out)["prompt_tokens"];
  EXPECT_EQ(both, last + 10);  // the question and an empty line once more
}

TEST_F(CliTest, NoServerSaysHowToStartOne) {
  const Output output = RunAt("127.0.0.1:1", "ask --timeout 20 q");
  EXPECT_EQ(output.exit_code, 3);
  EXPECT_EQ(output.out, "");
  EXPECT_THAT(output.err, AllOf(HasSubstr("no slimfill server answers at 127.0.0.1:1"), HasSubstr("slimfill-server"),
                                HasSubstr("--server HOST:PORT")));
}

TEST_F(CliTest, ErrorsAreJsonToo) {
  const Output output = RunAt("127.0.0.1:1", "ask --json q");
  EXPECT_EQ(output.exit_code, 3);
  const json error = json::parse(output.out)["error"];
  EXPECT_EQ(error["code"], "UNAVAILABLE");
  EXPECT_THAT(error["remedy"].get<std::string>(), HasSubstr("slimfill-server"));
}

TEST_F(CliTest, RefusedRequestsCarryTheServersText) {
  const Output output = Run("ask --json --temperature=-1 q");
  EXPECT_EQ(output.exit_code, 4);
  const json error = json::parse(output.out)["error"];
  EXPECT_EQ(error["code"], "INVALID_ARGUMENT");
  EXPECT_EQ(error["reason"], "INVALID_FIELD");
  EXPECT_THAT(error["message"].get<std::string>(), HasSubstr("sampling.temperature"));
}

TEST_F(CliTest, AnswerThatBreaksOffIsAnError) {
  server_.engine().Script(*server_.tokenizer().SpecialId("<|im_start|>"),
                          {.fail_at_token = 2, .failure = absl::UnavailableError("gone")});
  const Output output = Run("ask q");
  EXPECT_EQ(output.exit_code, 5);
  EXPECT_EQ(output.out, "0 1 \n");
  EXPECT_THAT(output.err, HasSubstr("gone"));
}

TEST_F(CliTest, WrongArgumentsAreUsageErrors) {
  EXPECT_EQ(Run("ask").exit_code, 2);
  EXPECT_EQ(Run("frobnicate").exit_code, 2);
  EXPECT_EQ(Run("").exit_code, 2);
  const Output pruning = Run("ask --pruning keep=much q");
  EXPECT_EQ(pruning.exit_code, 2);
  EXPECT_THAT(pruning.err, HasSubstr("use auto, off or keep=RATIO"));
  const Output missing = Run("ask --file /does/not/exist q");
  EXPECT_EQ(missing.exit_code, 2);
  EXPECT_THAT(missing.err, HasSubstr("--file /does/not/exist: cannot be read"));
  const Output folder = Run("ask --file /tmp q");
  EXPECT_EQ(folder.exit_code, 2);
  const Output latin1 = Run("ask --file " + Write("latin1", "caf\xe9") + " q");
  EXPECT_EQ(latin1.exit_code, 2);
  EXPECT_THAT(latin1.err, HasSubstr("byte 3 is not UTF-8"));
}

TEST_F(CliTest, HelpNamesTheExitCodes) {
  const Output output = Run("--help");
  EXPECT_EQ(output.exit_code, 0);
  EXPECT_THAT(output.out, HasSubstr("Exit codes: 0 done"));
  EXPECT_THAT(Run("ask --help").out, HasSubstr("--pruning"));
}

TEST_F(CliTest, StatusShowsModelAndLoad) {
  const Output output = Run("status");
  EXPECT_EQ(output.exit_code, 0) << output.err;
  EXPECT_THAT(output.out, AllOf(HasSubstr("serving"), HasSubstr("fake"), HasSubstr("0 running of 8")));
  const json status = json::parse(Run("status --json").out);
  EXPECT_EQ(status["model"]["name"], "fake");
  EXPECT_EQ(status["serving"], true);
}

TEST_F(CliTest, TokenizeCounts) {
  EXPECT_EQ(Run("tokenize abc").out, "3\n");
  EXPECT_EQ(json::parse(Run("tokenize --json abc").out)["ids"], json({'a', 'b', 'c'}));
}

}  // namespace
}  // namespace slimfill::testing
