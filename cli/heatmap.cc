#include "cli/heatmap.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "cli/block_text.h"
#include "cli/heatmap_template.h"
#include "cli/summary.h"

namespace slimfill::cli {
namespace {

using Json = nlohmann::json;

constexpr int64_t kBlockTokens = 64;

// The parts of the server's prune plan that say which blocks are pinned.
struct Pins {
  int64_t sink_blocks = 1;
  int64_t local_blocks = 0;
};

Pins PinsOf(const v1::GetModelResponse& model, int64_t prompt_tokens) {
  const Json plan = Json::parse(model.plan_json(), nullptr, /*allow_exceptions=*/false);
  Pins pins;
  if (!plan.is_object()) return pins;
  try {
    pins.sink_blocks = plan.value("sink_blocks", pins.sink_blocks);
    for (const Json& band : plan.value("local_blocks", Json::array())) {
      const int64_t up_to_tokens = band.at("up_to_tokens");
      if (up_to_tokens != 0 && prompt_tokens > up_to_tokens) continue;
      pins.local_blocks = band.at("blocks");
      break;
    }
  } catch (const Json::exception&) {  // a newer server's plan: its blocks are called pinned, without a reason
  }
  return pins;
}

bool IsKeptWhole(const v1::PruneTraceStage& prune) { return prune.kept_blocks_size() == prune.candidate_blocks_size(); }

// The safety rules put a first pruning off, and its entry in the trace keeps everything; so does a budget that is
// larger than what is left, but that is a pruning as planned.
bool IsPutOff(const v1::Finished& finished, int index) {
  const auto& fallbacks = finished.fallbacks();
  return index == 0 && IsKeptWhole(finished.prune_trace(0)) &&
         std::any_of(fallbacks.begin(), fallbacks.end(),
                     [](const std::string& reason) { return reason == "low_peak" || reason == "entropy"; });
}

std::string FallbackText(const std::string& reason, const v1::Finished& finished) {
  const auto layer = [&](int index) {
    return index < finished.prune_trace_size() ? absl::StrCat("layer ", finished.prune_trace(index).prune_layer())
                                               : std::string("the first prune layer");
  };
  if (reason == "low_peak") {
    return absl::StrCat("At ", layer(0),
                        " no block stood out, so nothing was dropped there and the first pruning waited",
                        finished.prune_trace_size() > 1 ? " for " + layer(1) : "", ".");
  }
  if (reason == "entropy") {
    return absl::StrCat("At ", layer(0),
                        " the scores are spread evenly over the prompt: nothing in particular is being looked up, so "
                        "every layer read all of it.");
  }
  if (reason == "short_prompt") {
    return "The prompt is so short, or the budget so large, that every block would have been kept anyway.";
  }
  if (reason == "question_first") {
    return "The question stands before its document, and the plan prunes no such prompts or the model's context has no "
           "room to ask once more behind it: every layer read all of it. Ask after the document to have it pruned.";
  }
  return absl::StrCat("The server's reason: ", reason, ".");
}

std::string WhyDense(const HeatMap& map) {
  if (map.finished.pruned()) return "";
  if (!map.finished.fallbacks().empty()) return FallbackText(map.finished.fallbacks(0), map.finished);
  if (map.pruning == "off") return "Pruning was switched off for this request (--pruning off).";
  if (map.model.plan_name().empty()) return "The server has no prune plan for its model.";
  return "The server gave no reason.";
}

Json Prunes(const v1::Finished& finished) {
  Json prunes = Json::array();
  for (const v1::PruneTraceStage& stage : finished.prune_trace()) {
    prunes.push_back({{"layer", stage.prune_layer()},
                      {"put_off", IsPutOff(finished, static_cast<int>(prunes.size()))},
                      {"blocks", stage.candidate_blocks()},
                      {"scores", stage.scores()},
                      {"kept", stage.kept_blocks()}});
  }
  return prunes;
}

// How many prunings a block outlived.
int Lived(const v1::Finished& finished, int32_t block) {
  int lived = 0;
  for (const v1::PruneTraceStage& stage : finished.prune_trace()) {
    if (!std::binary_search(stage.kept_blocks().begin(), stage.kept_blocks().end(), block)) break;
    ++lived;
  }
  return lived;
}

bool AsksIn(const v1::Finished& finished, int64_t begin, int64_t end) {
  return finished.has_question() && finished.question().begin() < end && begin < finished.question().end();
}

Json Reasons(const v1::Finished& finished, const Pins& pins, int64_t block, int64_t block_count) {
  Json reasons = Json::array();
  if (finished.prune_trace().empty()) return reasons;
  const auto& forced = finished.prune_trace(0).forced_blocks();
  if (!std::binary_search(forced.begin(), forced.end(), static_cast<int32_t>(block))) return reasons;
  if (block < pins.sink_blocks) reasons.push_back("sink");
  if (block >= block_count - pins.local_blocks) reasons.push_back("local");
  if (AsksIn(finished, block * kBlockTokens, (block + 1) * kBlockTokens)) reasons.push_back("question");
  if (reasons.empty()) reasons.push_back("pinned");
  return reasons;
}

// Borders of blocks and of the question, in tokens, ascending.
std::vector<int64_t> Borders(const v1::Finished& finished, int64_t tokens) {
  std::vector<int64_t> borders;
  for (int64_t token = 0; token < tokens; token += kBlockTokens) borders.push_back(token);
  for (const int64_t border : {finished.question().begin(), finished.question().end()}) {
    if (border > 0 && border < tokens) borders.push_back(border);
  }
  std::sort(borders.begin(), borders.end());
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
  return borders;
}

Json Blocks(const HeatMap& map) {
  const v1::Finished& finished = map.finished;
  const std::vector<absl::string_view> bytes(map.tokens.token_bytes().begin(), map.tokens.token_bytes().end());
  const auto tokens = static_cast<int64_t>(bytes.size());
  const std::vector<int64_t> borders = Borders(finished, tokens);
  const std::vector<std::string> pieces = CutText(bytes, borders);
  const Pins pins = PinsOf(map.model, tokens);
  const int64_t count = (tokens + kBlockTokens - 1) / kBlockTokens;
  Json blocks = Json::array();
  for (size_t i = 0; i < pieces.size(); ++i) {
    const int64_t block = borders[i] / kBlockTokens;
    if (borders[i] % kBlockTokens == 0) {
      blocks.push_back({{"text", Json::array()},
                        {"lived", Lived(finished, static_cast<int32_t>(block))},
                        {"forced", Reasons(finished, pins, block, count)}});
    }
    Json& text = blocks.back()["text"];
    if (AsksIn(finished, borders[i], borders[i] + 1)) {
      text.push_back({{"question", pieces[i]}});
    } else {
      text.push_back(pieces[i]);
    }
  }
  return blocks;
}

// Figures, null where the server cannot tell.
Json Figures(const v1::Finished& finished) {
  Json figures = {{"ttft_ms", finished.timings().ttft_ms()}, {"queue_ms", finished.timings().queue_ms()},
                  {"kv_bytes", finished.kv_bytes()},         {"dense_kv_bytes", finished.dense_kv_bytes()},
                  {"swaps", finished.decode().swaps()},      {"speedup", nullptr}};
  if (const std::optional<double> speedup = Speedup(finished); speedup.has_value()) {
    figures["speedup"] = *speedup;
    figures["dense_ttft_ms"] = finished.dense_equivalent().ttft_ms();
    figures["dense_method"] = finished.dense_equivalent().method();
    figures["dense_error"] = finished.dense_equivalent().error_ratio();
  }
  return figures;
}

}  // namespace

Json HeatMapData(const HeatMap& map) {
  const v1::Finished& finished = map.finished;
  Json data = {
      {"question", map.question},
      {"answer", map.answer},
      {"pruning", map.pruning},
      {"model",
       {{"name", map.model.name()}, {"backend", map.model.backend_description()}, {"plan", map.model.plan_name()}}},
      {"block_tokens", kBlockTokens},
      {"prompt_tokens", finished.usage().prompt_tokens()},
      {"cached_tokens", finished.usage().cached_tokens()},
      {"pruned", finished.pruned()},
      {"served_by", finished.served_by()},
      {"why_dense", WhyDense(map)},
      {"fallbacks", Json::array()},
      {"stages", Json::array()},
      {"prunes", Prunes(finished)},
      {"question_tokens", nullptr},
      {"blocks", Blocks(map)},
  };
  data.update(Figures(finished));
  for (const std::string& reason : finished.fallbacks()) {
    data["fallbacks"].push_back({{"code", reason}, {"text", FallbackText(reason, finished)}});
  }
  for (const v1::StageSummary& stage : finished.stages()) {
    data["stages"].push_back(
        {{"last_layer", stage.last_layer()}, {"tokens_in", stage.tokens_in()}, {"compute_ms", stage.compute_ms()}});
  }
  if (finished.has_question()) {
    data["question_tokens"] = {finished.question().begin(), finished.question().end()};
  }
  return data;
}

std::string HeatMapPage(const Json& data) {
  // JSON has `<` only inside strings; written as an escape, no text can end the script element or open a comment in it.
  const std::string safe =
      absl::StrReplaceAll(data.dump(-1, ' ', false, Json::error_handler_t::replace), {{"<", "\\u003c"}});
  const size_t mark = kHeatMapTemplate.find(kHeatMapDataMark);
  return absl::StrCat(kHeatMapTemplate.substr(0, mark), safe, kHeatMapTemplate.substr(mark + kHeatMapDataMark.size()));
}

}  // namespace slimfill::cli
