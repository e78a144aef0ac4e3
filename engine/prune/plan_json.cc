// Plans as JSON.
#include <set>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/prune/plan.h"
#include "nlohmann/json.hpp"

namespace slimfill::engine {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::pair<ScoreKind, const char*> kScoreNames[] = {
    {ScoreKind::kPaper, "paper"},     {ScoreKind::kAttention, "attention"},
    {ScoreKind::kHeads, "heads"},     {ScoreKind::kPrevious, "previous"},
    {ScoreKind::kRecency, "recency"}, {ScoreKind::kRandom, "random"},
    {ScoreKind::kGiven, "given"},     {ScoreKind::kMeanAttention, "mean_attention"}};

const char* ScoreName(ScoreKind kind) {
  for (const auto& [score, name] : kScoreNames) {
    if (score == kind) return name;
  }
  return "";
}

// Reads the members of one JSON object by name; a member that nobody asked for is an error.
class ObjectReader {
 public:
  ObjectReader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  template <typename T>
  absl::Status Read(const char* key, T& value) {
    known_.insert(key);
    if (!object_.contains(key)) return absl::OkStatus();
    try {
      const Json& member = object_.at(key);
      if constexpr (std::is_same_v<T, bool>) {
        if (!member.is_boolean()) return Bad(key, "must be true or false");
      } else if constexpr (std::is_integral_v<T>) {
        if (!member.is_number_integer()) return Bad(key, "must be a whole number");
        const int64_t wide = member.get<int64_t>();
        if (wide < 0 || wide > INT32_MAX) return Bad(key, "is out of range");
      } else if constexpr (std::is_floating_point_v<T>) {
        if (!member.is_number()) return Bad(key, "must be a number");
      } else {
        if (!member.is_string()) return Bad(key, "must be a string");
      }
      value = member.get<T>();
    } catch (const Json::exception& error) {
      return Bad(key, error.what());
    }
    return absl::OkStatus();
  }
  // The member itself, or null.
  const Json* Member(const char* key) {
    known_.insert(key);
    return object_.contains(key) ? &object_.at(key) : nullptr;
  }
  absl::Status Finish() const {
    for (const auto& [key, value] : object_.items()) {
      if (known_.count(key) == 0)
        return absl::InvalidArgumentError(absl::StrCat(where_, ": unknown key \"", key, "\""));
    }
    return absl::OkStatus();
  }
  absl::Status Bad(const char* key, absl::string_view why) const {
    return absl::InvalidArgumentError(absl::StrCat(where_, ": \"", key, "\" ", why));
  }

 private:
  const Json& object_;
  std::string where_;
  std::set<std::string> known_;
};

Json HeadsToJson(const std::vector<LayerHead>& heads) {
  Json json;
  for (const LayerHead& head : heads) json.push_back({head.layer, head.head});
  return json;
}

void WriteRatio(const char* key, double ratio, const std::vector<KeepBand>& bands, Json& json) {
  if (ratio > 0) json[key] = ratio;
  for (const KeepBand& band : bands) json[key].push_back({{"up_to_tokens", band.up_to_tokens}, {"ratio", band.ratio}});
}

Json StageToJson(const PlanStage& stage) {
  Json json = {{"prune_layer", stage.prune_layer}};
  if (stage.keep_tokens > 0) json["keep_tokens"] = stage.keep_tokens;
  if (stage.keep_mass > 0) json["keep_mass"] = stage.keep_mass;
  WriteRatio("keep_ratio", stage.keep_ratio, stage.keep_bands, json);
  if (stage.keep_score > 0) json["keep_score"] = stage.keep_score;
  WriteRatio("max_ratio", stage.max_ratio, stage.max_bands, json);
  json["score"] = ScoreName(stage.score);
  if (!stage.heads.empty()) json["heads"] = HeadsToJson(stage.heads);
  return json;
}

absl::StatusOr<std::vector<LayerHead>> ParseHeads(ObjectReader& reader) {
  std::vector<LayerHead> heads;
  const Json* list = reader.Member("heads");
  if (list == nullptr) return heads;
  const char* kForm = "must be a list of [layer, head] pairs";
  if (!list->is_array() || list->size() > 64) return reader.Bad("heads", kForm);
  for (const Json& pair : *list) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_unsigned() || !pair[1].is_number_unsigned() ||
        pair[0].get<uint64_t>() > 4096 || pair[1].get<uint64_t>() > 4096) {
      return reader.Bad("heads", kForm);
    }
    heads.push_back({pair[0].get<int>(), pair[1].get<int>()});
  }
  return heads;
}

// A number, or bands of length.
absl::Status ParseRatio(ObjectReader& reader, const char* key, double& ratio, std::vector<KeepBand>& bands) {
  const Json* member = reader.Member(key);
  if (member == nullptr || !member->is_array()) return reader.Read(key, ratio);
  const char* kForm = "must be a number or a list of {up_to_tokens, ratio}";
  if (member->empty() || member->size() > 16) return reader.Bad(key, kForm);
  for (const Json& json : *member) {
    if (!json.is_object()) return reader.Bad(key, kForm);
    ObjectReader band_reader(json, absl::StrCat("plan ", key));
    KeepBand& band = bands.emplace_back();
    SLIMFILL_RETURN_IF_ERROR(band_reader.Read("up_to_tokens", band.up_to_tokens));
    SLIMFILL_RETURN_IF_ERROR(band_reader.Read("ratio", band.ratio));
    SLIMFILL_RETURN_IF_ERROR(band_reader.Finish());
  }
  return absl::OkStatus();
}

absl::Status ParseLinks(ObjectReader& reader, PrunePlan& plan) {
  const Json* json = reader.Member("links");
  if (json == nullptr) return absl::OkStatus();
  if (!json->is_object()) return reader.Bad("links", "must be an object");
  ObjectReader links_reader(*json, "plan links");
  SLIMFILL_ASSIGN_OR_RETURN(plan.links.heads, ParseHeads(links_reader));
  SLIMFILL_RETURN_IF_ERROR(links_reader.Read("weight", plan.links.weight));
  SLIMFILL_RETURN_IF_ERROR(links_reader.Read("hops", plan.links.hops));
  SLIMFILL_RETURN_IF_ERROR(links_reader.Read("seeds", plan.links.seeds));
  return links_reader.Finish();
}

absl::StatusOr<PlanStage> ParseStage(const Json& json, const std::string& where) {
  if (!json.is_object()) return absl::InvalidArgumentError(absl::StrCat(where, ": must be an object"));
  ObjectReader reader(json, where);
  PlanStage stage;
  std::string score;
  SLIMFILL_RETURN_IF_ERROR(reader.Read("prune_layer", stage.prune_layer));
  SLIMFILL_RETURN_IF_ERROR(ParseRatio(reader, "keep_ratio", stage.keep_ratio, stage.keep_bands));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("keep_tokens", stage.keep_tokens));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("keep_mass", stage.keep_mass));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("keep_score", stage.keep_score));
  SLIMFILL_RETURN_IF_ERROR(ParseRatio(reader, "max_ratio", stage.max_ratio, stage.max_bands));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("score", score));
  SLIMFILL_ASSIGN_OR_RETURN(stage.heads, ParseHeads(reader));
  SLIMFILL_RETURN_IF_ERROR(reader.Finish());
  for (const auto& [kind, name] : kScoreNames) {
    if (score == name) {
      stage.score = kind;
      return stage;
    }
  }
  return reader.Bad("score", "must be paper, attention, mean_attention, heads, previous, recency, random or given");
}

absl::Status ParseLocalBlocks(ObjectReader& reader, PrunePlan& plan) {
  const Json* list = reader.Member("local_blocks");
  if (list == nullptr) return absl::OkStatus();
  if (!list->is_array() || list->empty() || list->size() > 16) {
    return reader.Bad("local_blocks", "must be a list of {up_to_tokens, blocks}");
  }
  plan.local_blocks.clear();
  for (const Json& json : *list) {
    if (!json.is_object()) return reader.Bad("local_blocks", "must be a list of {up_to_tokens, blocks}");
    ObjectReader band_reader(json, "plan local_blocks");
    LocalBlocks band;
    SLIMFILL_RETURN_IF_ERROR(band_reader.Read("up_to_tokens", band.up_to_tokens));
    SLIMFILL_RETURN_IF_ERROR(band_reader.Read("blocks", band.blocks));
    SLIMFILL_RETURN_IF_ERROR(band_reader.Finish());
    plan.local_blocks.push_back(band);
  }
  return absl::OkStatus();
}

Json ShapeOf(const ModelConfig& config) {
  return {{"architecture", ArchitectureName(config.architecture)},
          {"layers", config.layers},
          {"hidden", config.hidden},
          {"heads", config.heads}};
}

}  // namespace

std::string ModelShapeJson(const ModelConfig& config) { return ShapeOf(config).dump(); }

absl::StatusOr<PrunePlan> ParsePlan(absl::string_view text, const ModelConfig& config) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InvalidArgumentError("plan: not a JSON object");
  ObjectReader reader(json, "plan");
  PrunePlan plan;
  if (const Json* model = reader.Member("model");
      model != nullptr && nlohmann::json(*model) != nlohmann::json(ShapeOf(config))) {
    return absl::InvalidArgumentError(absl::StrCat("plan: it is for the model ", model->dump().substr(0, 200),
                                                   ", this one is ", ShapeOf(config).dump(),
                                                   ": calibrate a plan for it with slimfill-calibrate"));
  }
  SLIMFILL_RETURN_IF_ERROR(reader.Read("name", plan.name));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("query_window", plan.query_window));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("attention_window", plan.attention_window));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("attention_layers", plan.attention_layers));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("paper_window", plan.paper_window));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("paper_absolute", plan.paper_absolute));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("dilate_forward_units", plan.dilate_forward_units));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("dilate_backward_units", plan.dilate_backward_units));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("sink_blocks", plan.sink_blocks));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("budgeted_local_blocks", plan.budgeted_local_blocks));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("min_blocks", plan.min_blocks));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("swap_overlap", plan.swap_overlap));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("swap_margin", plan.swap_margin));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("min_peak", plan.min_peak));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("max_entropy", plan.max_entropy));
  SLIMFILL_RETURN_IF_ERROR(reader.Read("prune_question_first", plan.prune_question_first));
  SLIMFILL_RETURN_IF_ERROR(ParseLocalBlocks(reader, plan));
  SLIMFILL_RETURN_IF_ERROR(ParseLinks(reader, plan));
  if (const Json* stages = reader.Member("stages"); stages != nullptr) {
    if (!stages->is_array() || stages->size() > 64) return reader.Bad("stages", "must be a list of at most 64 stages");
    for (const Json& stage : *stages) {
      SLIMFILL_ASSIGN_OR_RETURN(PlanStage parsed, ParseStage(stage, absl::StrCat("plan stage ", plan.stages.size())));
      plan.stages.push_back(std::move(parsed));
    }
  }
  if (const Json* retry = reader.Member("retry"); retry != nullptr) {
    SLIMFILL_ASSIGN_OR_RETURN(plan.retry, ParseStage(*retry, "plan retry"));
  }
  reader.Member("evidence");  // for people: how the plan was calibrated
  SLIMFILL_RETURN_IF_ERROR(reader.Finish());
  SLIMFILL_RETURN_IF_ERROR(CheckPlan(plan, config));
  return plan;
}

std::string PlanToJson(const PrunePlan& plan) {
  Json json = {{"name", plan.name}};
  for (const PlanStage& stage : plan.stages) json["stages"].push_back(StageToJson(stage));
  if (plan.retry.has_value()) json["retry"] = StageToJson(*plan.retry);
  if (!plan.links.heads.empty()) {
    json["links"] = {{"heads", HeadsToJson(plan.links.heads)},
                     {"weight", plan.links.weight},
                     {"hops", plan.links.hops},
                     {"seeds", plan.links.seeds}};
  }
  json["query_window"] = plan.query_window;
  json["attention_window"] = plan.attention_window;
  json["attention_layers"] = plan.attention_layers;
  json["paper_window"] = plan.paper_window;
  json["paper_absolute"] = plan.paper_absolute;
  json["dilate_forward_units"] = plan.dilate_forward_units;
  json["dilate_backward_units"] = plan.dilate_backward_units;
  json["sink_blocks"] = plan.sink_blocks;
  for (const LocalBlocks& band : plan.local_blocks) {
    json["local_blocks"].push_back({{"up_to_tokens", band.up_to_tokens}, {"blocks", band.blocks}});
  }
  json["budgeted_local_blocks"] = plan.budgeted_local_blocks;
  json["min_blocks"] = plan.min_blocks;
  json["swap_overlap"] = plan.swap_overlap;
  json["swap_margin"] = plan.swap_margin;
  json["min_peak"] = plan.min_peak;
  json["max_entropy"] = plan.max_entropy;
  if (!plan.prune_question_first) json["prune_question_first"] = false;
  return json.dump(2);
}

}  // namespace slimfill::engine
