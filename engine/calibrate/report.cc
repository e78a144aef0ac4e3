#include "engine/calibrate/report.h"

#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace slimfill::calibrate {
namespace {

using Json = nlohmann::ordered_json;

std::string Names(const std::vector<engine::LayerHead>& heads) {
  return absl::StrJoin(heads, " ", [](std::string* out, const engine::LayerHead& head) {
    absl::StrAppend(out, "(", head.layer, ",", head.head, ")");
  });
}

Json HeadsJson(const std::vector<engine::LayerHead>& heads) {
  Json json = Json::array();
  for (const engine::LayerHead& head : heads) json.push_back({head.layer, head.head});
  return json;
}

Json FindingsJson(const std::vector<LayerFinding>& findings) {
  Json json;
  for (const LayerFinding& finding : findings) {
    Json entry = {{"layer", finding.layer}, {"heads", HeadsJson(finding.heads)}};
    if (!finding.link_heads.empty()) entry["link_heads"] = HeadsJson(finding.link_heads);
    entry["recall"] = finding.recall;
    json.push_back(std::move(entry));
  }
  return json;
}

Json TrialsJson(const std::vector<Trial>& trials, const std::vector<Candidate>& candidates) {
  Json json = Json::array();
  for (const Trial& trial : trials) {
    json.push_back({{"prune_layers", PruneLayers(candidates[trial.candidate].plan)},
                    {"recall", candidates[trial.candidate].merit.recall},
                    {"flops_ratio", trial.flops_ratio},
                    {"loss", trial.loss},
                    {"nll_over_dense", {trial.nll.mean, trial.nll.low, trial.nll.high}}});
  }
  return json;
}

}  // namespace

void PrintFindings(const char* title, const std::vector<LayerFinding>& findings, const std::vector<double>& ratios) {
  std::vector<std::string> columns;
  for (const double ratio : ratios) columns.push_back(absl::StrFormat("%.1f %%", ratio * 100));
  std::printf("\n%s: evidence kept\n| layer | heads | links | %s |\n|---|---|---|", title,
              absl::StrJoin(columns, " | ").c_str());
  for (size_t i = 0; i < ratios.size(); ++i) std::printf("---|");
  for (const LayerFinding& finding : findings) {
    std::vector<std::string> recall;
    for (const double value : finding.recall) recall.push_back(absl::StrFormat("%.0f %%", value * 100));
    std::printf("\n| %d | %s | %s | %s |", finding.layer, Names(finding.heads).c_str(),
                Names(finding.link_heads).c_str(), absl::StrJoin(recall, " | ").c_str());
  }
  std::printf("\n");
  std::fflush(stdout);
}

void PrintCandidates(const std::vector<Candidate>& candidates) {
  std::printf("\nplans\n| prunes at | keeps at most | evidence kept | FLOPs ratio |\n|---|---|---|---|\n");
  for (const auto& [plan, merit] : candidates) {
    const std::string most = absl::StrJoin(plan.stages, ", ", [](std::string* out, const engine::PlanStage& stage) {
      absl::StrAppendFormat(out, "%.1f %%", 100 * MostKept(stage));
    });
    std::printf("| %s | %s | %.1f %% | %.2fx |\n", PruneLayers(plan).c_str(), most.c_str(), 100 * merit.recall,
                1 / merit.cost);
  }
  std::fflush(stdout);
}

Json EvidenceJson(const ChooseOptions& options, const Findings& findings, const Candidate& chosen,
                  const std::vector<Trial>& trials) {
  return {{"target_recall", options.recall},        {"recall", chosen.merit.recall},
          {"flops_ratio", 1 / chosen.merit.cost},   {"trials", TrialsJson(trials, findings.candidates)},
          {"first_ratios", options.first.ratios},   {"first_pruning", FindingsJson(findings.first_layers)},
          {"second_ratios", options.second.ratios}, {"second_pruning", FindingsJson(findings.second_layers)}};
}

absl::Status WritePlan(const std::string& path, const engine::PrunePlan& plan, const engine::ModelConfig& model,
                       const Json& evidence) {
  Json json = Json::parse(engine::PlanToJson(plan));
  json["model"] = Json::parse(engine::ModelShapeJson(model));
  json["evidence"] = evidence;
  std::ofstream file(path);
  file << json.dump(2) << "\n";
  if (!file.flush()) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

}  // namespace slimfill::calibrate
