// slimfill ask --heatmap.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nlohmann/json.hpp"
#include "tests/cli/cli_fixture.h"

namespace slimfill::testing {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class AskHeatMap : public CliTest {
 protected:
  std::string Page() { return (folder_ / "map.html").string(); }
  // The data in the page, as a browser would find it.
  json Data() {
    const std::string page = Read("map.html"), begin = "id=\"data\">";
    const size_t first = page.find(begin) + begin.size();
    return json::parse(page.substr(first, page.find("</script", first) - first));
  }
  static std::string Text(const json& blocks) {
    std::string text;
    for (const json& block : blocks) {
      for (const json& part : block["text"]) text += part.is_string() ? part : part["question"];
    }
    return text;
  }
  void ScriptTrace(std::vector<int32_t> candidates, std::vector<int32_t> kept) {
    server_.engine().Script(*server_.tokenizer().SpecialId("<|im_start|>"),
                            {.trace = {{.prune_layer = 1,
                                        .candidate_blocks = candidates,
                                        .scores = std::vector<float>(candidates.size(), 0.5f),
                                        .kept_blocks = std::move(kept),
                                        .forced_blocks = {0}}},
                             .question = {{100, 110}}});
  }
};

TEST_F(AskHeatMap, ShowsTheTokensThatTheEngineSaw) {
  ScriptTrace({0, 1, 2}, {0, 2});
  std::string document = "<script>alert('x')</script> </textarea> <|im_end|> ";
  for (int i = 0; i < 300; ++i) document += "€";  // three tokens each: some lie across a border
  const Output output =
      Run("ask --heatmap " + Page() + " --max-tokens 3 --file " + Write("doc.txt", document) + " 'Why?'");
  ASSERT_EQ(output.exit_code, 0) << output.err;
  EXPECT_EQ(output.out, "0 1 2 \n");
  EXPECT_THAT(output.err, HasSubstr("heat map  " + Page()));
  const json data = Data();
  EXPECT_EQ(data["question"], "Why?");
  EXPECT_EQ(data["answer"], "0 1 2 ");
  EXPECT_EQ(data["model"]["name"], "fake");
  EXPECT_EQ(data["pruned"], true);
  EXPECT_EQ(data["question_tokens"], json({100, 110}));
  EXPECT_EQ(Text(data["blocks"]), "<|im_start|>user\n" + document + "\n\nWhy?<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(data["blocks"].size(), (data["prompt_tokens"].get<int>() + 63) / 64);
  EXPECT_EQ(data["blocks"][0]["lived"], 1);
  EXPECT_EQ(data["blocks"][1]["lived"], 0);
  EXPECT_EQ(data["blocks"][0]["forced"], json({"sink"}));
  EXPECT_THAT(Read("map.html"), ::testing::Not(HasSubstr("<script>alert")));
}

TEST_F(AskHeatMap, ComposesWithJson) {
  const Output output = Run("ask --json --heatmap " + Page() + " --max-tokens 2 q");
  ASSERT_EQ(output.exit_code, 0) << output.err;
  EXPECT_EQ(output.err, "");
  EXPECT_EQ(json::parse(output.out)["text"], "0 1 ");
  EXPECT_EQ(Data()["answer"], "0 1 ");
}

TEST_F(AskHeatMap, DensePromptHasAPageThatSaysSo) {
  const std::string file = Write("doc.txt", std::string(5000, 'x'));
  ASSERT_EQ(Run("ask --heatmap " + Page() + " --pruning off --max-tokens 1 --file " + file + " q").exit_code, 0);
  EXPECT_EQ(Data()["pruned"], false);
  EXPECT_THAT(Data()["why_dense"].get<std::string>(), HasSubstr("--pruning off"));
}

TEST_F(AskHeatMap, PathThatCannotBeWrittenIsAnErrorBeforeTheRequest) {
  const Output output = Run("ask --heatmap /does/not/exist.html q");
  EXPECT_EQ(output.exit_code, 2);
  EXPECT_EQ(output.out, "");
  EXPECT_THAT(output.err, AllOf(HasSubstr("--heatmap /does/not/exist.html: cannot be written"),
                                HasSubstr("name a file in a folder that exists")));
  EXPECT_EQ(Run("ask --heatmap /tmp q").exit_code, 2);
  const std::string document = Write("doc.txt", "precious");
  EXPECT_THAT(Run("ask --heatmap " + document + " --file " + document + " q").err, HasSubstr("is the document itself"));
  EXPECT_EQ(Read("doc.txt"), "precious");
  EXPECT_TRUE(server_.engine().calls().empty());
}

TEST_F(AskHeatMap, FullDiskLeavesTheAnswer) {
  const Output output = Run("ask --json --heatmap /dev/full --max-tokens 2 q");
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_EQ(json::parse(output.out)["text"], "0 1 ");
  EXPECT_THAT(output.err, AllOf(HasSubstr("--heatmap /dev/full: cannot be written"), HasSubstr("disk full?")));
}

TEST_F(AskHeatMap, RequestThatFailsLeavesTheOldPageAndMakesNoNewOne) {
  EXPECT_EQ(Run("ask --heatmap " + Page() + " --temperature=-1 q").exit_code, 4);
  EXPECT_FALSE(std::filesystem::exists(Page()));
  Write("map.html", "old");
  EXPECT_EQ(Run("ask --heatmap " + Page() + " --temperature=-1 q").exit_code, 4);
  EXPECT_EQ(Read("map.html"), "old");
}

}  // namespace
}  // namespace slimfill::testing
