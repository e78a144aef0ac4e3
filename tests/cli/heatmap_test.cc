#include "cli/heatmap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace slimfill::cli {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

v1::PruneTraceStage Prune(int layer, const std::vector<int32_t>& candidates, const std::vector<int32_t>& kept) {
  v1::PruneTraceStage stage;
  stage.set_prune_layer(layer);
  stage.mutable_candidate_blocks()->Assign(candidates.begin(), candidates.end());
  for (size_t i = 0; i < candidates.size(); ++i) stage.add_scores(1.0f / static_cast<float>(i + 1));
  stage.mutable_kept_blocks()->Assign(kept.begin(), kept.end());
  for (const int32_t block : {0, 3, 6, 7}) stage.add_forced_blocks(block);
  return stage;
}

// 8 blocks of tokens "x", the last of 10 tokens; a question in the middle of block 3.
HeatMap Map() {
  HeatMap map{"What?", "That.", "auto", {}, {}, {}};
  map.model.set_name("tiny");
  map.model.set_plan_name("plan");
  map.model.set_plan_json(R"({"sink_blocks": 1, "local_blocks": [{"up_to_tokens": 100, "blocks": 5},
                                                                 {"up_to_tokens": 0, "blocks": 2}]})");
  for (int i = 0; i < 7 * 64 + 10; ++i) map.tokens.add_token_bytes("x");
  map.finished.mutable_usage()->set_prompt_tokens(7 * 64 + 10);
  map.finished.mutable_question()->set_begin(200);
  map.finished.mutable_question()->set_end(210);
  map.finished.set_pruned(true);
  map.finished.set_served_by("cold");
  *map.finished.add_prune_trace() = Prune(3, {0, 1, 2, 3, 4, 5, 6, 7}, {0, 1, 3, 4, 6, 7});
  *map.finished.add_prune_trace() = Prune(9, {0, 1, 3, 4, 6, 7}, {0, 3, 4, 6, 7});
  return map;
}

TEST(HeatMapData, SaysHowLongEachBlockLivedAndWhatPinnedIt) {
  const json blocks = HeatMapData(Map())["blocks"];
  ASSERT_EQ(blocks.size(), 8u);
  std::vector<int> lived;
  for (const json& block : blocks) lived.push_back(block["lived"]);
  EXPECT_EQ(lived, (std::vector<int>{2, 1, 0, 2, 2, 0, 2, 2}));
  EXPECT_EQ(blocks[0]["forced"], json({"sink"}));
  EXPECT_EQ(blocks[1]["forced"], json::array());
  EXPECT_EQ(blocks[3]["forced"], json({"question"}));
  EXPECT_EQ(blocks[7]["forced"], json({"local"}));
}

TEST(HeatMapData, CutsTheTextAtBlocksAndMarksTheQuestion) {
  const json blocks = HeatMapData(Map())["blocks"];
  EXPECT_EQ(blocks[0]["text"], json({std::string(64, 'x')}));
  EXPECT_EQ(blocks[3]["text"], json({std::string(8, 'x'), {{"question", std::string(10, 'x')}}, std::string(46, 'x')}));
  EXPECT_EQ(blocks[7]["text"], json({std::string(10, 'x')}));
}

TEST(HeatMapData, UnknownPlanLeavesBlocksPinnedWithoutAReason) {
  HeatMap map = Map();
  for (const char* plan : {"", "[]", R"({"local_blocks": 3})", R"({"local_blocks": [7]})"}) {
    map.model.set_plan_json(plan);
    EXPECT_EQ(HeatMapData(map)["blocks"][7]["forced"], json({"pinned"})) << plan;
  }
}

TEST(HeatMapData, FirstPruningThatWasPutOffIsNamed) {
  HeatMap map = Map();
  map.finished.add_fallbacks("low_peak");
  v1::PruneTraceStage& first = *map.finished.mutable_prune_trace(0);
  *first.mutable_kept_blocks() = first.candidate_blocks();
  const json data = HeatMapData(map);
  EXPECT_EQ(data["prunes"][0]["put_off"], true);
  EXPECT_EQ(data["prunes"][1]["put_off"], false);
  EXPECT_THAT(data["fallbacks"][0]["text"].get<std::string>(), HasSubstr("the first pruning waited for layer 9"));
}

TEST(HeatMapData, DensePromptSaysWhy) {
  HeatMap map = Map();
  map.finished.set_pruned(false);
  map.finished.clear_prune_trace();
  const auto why = [&map] { return HeatMapData(map)["why_dense"].get<std::string>(); };
  EXPECT_THAT(why(), HasSubstr("no reason"));
  map.model.set_plan_name("");
  EXPECT_THAT(why(), HasSubstr("no prune plan"));
  map.pruning = "off";
  EXPECT_THAT(why(), HasSubstr("--pruning off"));
  map.finished.add_fallbacks("short_prompt");
  EXPECT_THAT(why(), HasSubstr("so short"));
  map.finished.set_fallbacks(0, "entropy");
  EXPECT_THAT(why(), HasSubstr("spread evenly"));
  map.finished.set_fallbacks(0, "question_first");
  EXPECT_THAT(why(), HasSubstr("Ask after the document"));
  map.finished.set_fallbacks(0, "full_moon");
  EXPECT_THAT(why(), HasSubstr("full_moon"));
}

TEST(HeatMapPage, KeepsHostileTextInsideItsData) {
  HeatMap map = Map();
  const std::string hostile = "</script><script>alert(1)</script><!-- </textarea> {{DATA}} \xff";
  map.question = map.answer = hostile;
  map.tokens.set_token_bytes(5, hostile);
  map.model.set_name(hostile);
  const std::string page = HeatMapPage(HeatMapData(map));
  const std::string harmless = HeatMapPage(HeatMapData(Map()));
  const auto count = [](const std::string& text, const std::string& what) {
    int found = 0;
    for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++found;
    return found;
  };
  for (const char* markup : {"<script", "</script", "<!--", "</textarea"}) {
    EXPECT_EQ(count(page, markup), count(harmless, markup)) << markup;
  }
  EXPECT_THAT(page, HasSubstr("\\u003c/script>\\u003cscript>alert(1)"));
}

TEST(HeatMapPage, IsWholeInItself) {
  const std::string page = HeatMapPage(HeatMapData(Map()));
  EXPECT_EQ(page.rfind("<!doctype html>", 0), 0u);
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
  EXPECT_THAT(page, HasSubstr("prefers-color-scheme: dark"));
  for (const char* outside : {"http:", "https:", "src=", "href=", "@import", "url(", "@HEATMAP", "{{DATA}}"}) {
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  }
}

}  // namespace
}  // namespace slimfill::cli
