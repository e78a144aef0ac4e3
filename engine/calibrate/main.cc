// slimfill-calibrate: finds a model's retrieval heads on synthetic questions over this machine's own texts and writes a
// prune plan with its evidence. What it learns from and what it verifies on share no document; the kinds of questions
// it verifies on include some that it never learned from.
#include <chrono>
#include <cstdio>
#include <fstream>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/must.h"
#include "engine/calibrate/choose.h"
#include "engine/calibrate/observation_file.h"
#include "engine/eval/arm.h"
#include "engine/eval/generate.h"
#include "engine/eval/prompt.h"
#include "engine/eval/run.h"
#include "engine/eval/summary.h"
#include "engine/ops/backend_factory.h"
#include "engine/pruned_engine.h"
#include "kvstore/core/local_store.h"
#include "nlohmann/json.hpp"

namespace slimfill::calibrate {
namespace {

using Json = nlohmann::ordered_json;

const std::vector<std::string> kLearnedKinds = {"needle", "multikey", "multivalue", "keyvalue", "code", "multihop"};
const std::vector<std::string> kControlKinds = {"summary_control", "continuation"};
const std::vector<std::string> kVerifiedKinds = {"needle",          "multikey",    "keyvalue",  "code",
                                                 "multihop",        "realqa",      "variables", "aggregate",
                                                 "summary_control", "continuation"};
constexpr double kProbedDepth = 0.6;
constexpr uint64_t kThresholdSeeds = 1000, kVerifySeeds = 2000;

struct Options {
  std::string model, out, observations, linear = "bf16";
  std::vector<int64_t> lengths = {4096};
  int cases = 6, threshold_cases = 3, verify_cases = 2, threads = 0;
  ChooseOptions choose;
  double false_alarms = 0.05;
};

// "learning 12/36, 2 min left" on one line.
class Progress {
 public:
  Progress(const char* what, size_t total) : what_(what), total_(total) {}
  void Step() {
    ++done_;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    std::fprintf(stderr, "\r%s %zu/%zu, %.1f min left ", what_, done_, total_,
                 seconds / 60 / static_cast<double>(done_) * static_cast<double>(total_ - done_));
    if (done_ == total_) std::fprintf(stderr, "\n");
  }

 private:
  const char* what_;
  const size_t total_;
  size_t done_ = 0;
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

Observation ObserveCase(engine::StudyEngine& engine, const eval::EvalCase& test_case, int layers) {
  const eval::CasePrompt prompt = Must(eval::RenderCase(engine, test_case));
  engine::SequenceRequest request;
  request.prompt = prompt.chat.tokens;
  request.last_user_content = prompt.chat.content_ranges.back();
  const auto prompt_tokens = static_cast<int64_t>(request.prompt.size());
  return {test_case.kind, test_case.target_tokens, prompt_tokens, prompt.evidence_blocks,
          Must(engine.ScoreHeads(std::move(request), layers))};
}

// What observations depend on: the model, and how its linear layers are computed.
std::string ComputedBy(const engine::EngineInfo& info) {
  return info.arithmetic == "bf16" ? info.model_sha256 : absl::StrCat(info.model_sha256, ", ", info.arithmetic);
}

std::vector<Observation> Observe(engine::StudyEngine& engine, const eval::Corpus& corpus, const Options& options,
                                 ObservationFile& file, const std::vector<std::string>& kinds, int cases, uint64_t seed,
                                 const char* what) {
  const int layers = static_cast<int>(kProbedDepth * engine.info().model.layers);
  const std::vector<eval::DocumentSpec> documents =
      eval::PlanDocuments({.lengths = options.lengths, .cases = cases, .kinds = kinds, .seed = seed});
  Progress progress(what, documents.size());
  std::vector<Observation> observations;
  for (const eval::DocumentSpec& document : documents) {
    const std::string id = eval::DocumentName(document);
    if (const Observation* known = file.Find(id); known != nullptr) {
      observations.push_back(*known);
    } else {
      const std::vector<eval::EvalCase> alone = Must(eval::MakeCases(corpus, engine.tokenizer(), document, false));
      observations.push_back(ObserveCase(engine, alone.front(), layers));
      Must(file.Append(id, observations.back()));
    }
    progress.Step();
  }
  return observations;
}

std::vector<eval::CaseResult> Verify(engine::StudyEngine& engine, const engine::PrunePlan& plan,
                                     const Options& options) {
  const eval::Corpus corpus = Must(eval::Corpus::Load(eval::Split::kHeldOut));
  const eval::Arm dense = Must(eval::MakeArm("dense", engine.info()));
  eval::Arm pruned{.name = "plan", .plan = std::make_shared<const engine::PrunePlan>(plan)};
  const std::vector<eval::DocumentSpec> documents = eval::PlanDocuments(
      {.lengths = options.lengths, .cases = options.verify_cases, .kinds = kVerifiedKinds, .seed = kVerifySeeds});
  Progress progress("verifying", documents.size());
  std::vector<eval::CaseResult> results;
  for (const eval::DocumentSpec& document : documents) {
    const eval::EvalCase test_case = Must(eval::MakeCases(corpus, engine.tokenizer(), document, false))[0];
    eval::CaseResult& result = results.emplace_back(eval::CaseResult{.document_id = eval::DocumentName(document),
                                                                     .kind = test_case.kind,
                                                                     .target_tokens = document.tokens,
                                                                     .judged = !test_case.accept.empty()});
    for (const eval::Arm& arm : {dense, pruned}) result.by_arm[arm.name] = Must(eval::Run(engine, test_case, arm, {}));
    progress.Step();
  }
  return results;
}

Json FindingsJson(const std::vector<LayerFinding>& findings) {
  Json json;
  for (const LayerFinding& finding : findings) {
    Json heads = Json::array();
    for (const engine::LayerHead& head : finding.heads) heads.push_back({head.layer, head.head});
    json.push_back({{"layer", finding.layer}, {"heads", heads}, {"recall", finding.recall}});
  }
  return json;
}

Json Evidence(const Options& options, const engine::EngineInfo& info, const Choice& choice,
              const std::vector<Observation>& observations) {
  return {{"model_sha256", info.model_sha256},
          {"linear", info.arithmetic},
          {"lengths", options.lengths},
          {"learned_from", absl::StrCat(observations.size(), " prompts: ", absl::StrJoin(kLearnedKinds, ", "))},
          {"target_recall", options.choose.recall},
          {"recall", choice.merit.recall},
          {"flops_ratio", 1 / choice.merit.cost},
          {"first_ratios", options.choose.first_ratios},
          {"first_pruning", FindingsJson(choice.first_layers)},
          {"second_ratios", options.choose.second_ratios},
          {"second_pruning", FindingsJson(choice.second_layers)}};
}

void PrintFindings(const char* title, const std::vector<LayerFinding>& findings, const std::vector<double>& ratios) {
  std::vector<std::string> columns;
  for (const double ratio : ratios) columns.push_back(absl::StrFormat("%.1f %%", ratio * 100));
  std::printf("\n%s: evidence kept\n| layer | heads | %s |\n|---|---|", title, absl::StrJoin(columns, " | ").c_str());
  for (size_t i = 0; i < ratios.size(); ++i) std::printf("---|");
  for (const LayerFinding& finding : findings) {
    std::vector<std::string> heads, recall;
    for (const engine::LayerHead& head : finding.heads) {
      heads.push_back(absl::StrCat("(", head.layer, ",", head.head, ")"));
    }
    for (const double value : finding.recall) recall.push_back(absl::StrFormat("%.0f %%", value * 100));
    std::printf("\n| %d | %s | %s |", finding.layer, absl::StrJoin(heads, " ").c_str(),
                absl::StrJoin(recall, " | ").c_str());
  }
  std::printf("\n");
  std::fflush(stdout);
}

void Write(const std::string& path, const engine::PrunePlan& plan, const engine::ModelConfig& model, Json evidence,
           const std::string& verified) {
  Json json = Json::parse(engine::PlanToJson(plan));
  json["model"] = Json::parse(engine::ModelShapeJson(model));
  if (!verified.empty()) evidence["verified"] = verified;
  json["evidence"] = std::move(evidence);
  std::ofstream file(path);
  file << json.dump(2) << "\n";
  if (!file.flush()) Must(absl::UnavailableError(absl::StrCat("cannot write ", path)));
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Finds a model's retrieval heads and writes a prune plan for it", "slimfill-calibrate");
  app.add_option("--model", options.model, "GGUF file, or directory with safetensors")
      ->required()
      ->check(CLI::ExistingPath);
  app.add_option("--out", options.out, "the plan file to write")->required();
  app.add_option("--name", options.choose.name, "of the plan; default: the model's");
  app.add_option("--observations", options.observations,
                 "a file that keeps what heads were seen to do; goes on where it ends");
  app.add_option("--lengths", options.lengths, "tokens of the documents")->delimiter(',')->capture_default_str();
  app.add_option("--cases", options.cases, "of each kind and length to learn from")->check(CLI::Range(1, 1000));
  app.add_option("--threshold-cases", options.threshold_cases, "fresh ones for the safety thresholds; 0: none are set")
      ->check(CLI::Range(0, 1000));
  app.add_option("--verify-cases", options.verify_cases, "of each kind and length, run end to end; 0: none")
      ->check(CLI::Range(0, 1000));
  app.add_option(
         "--recall", options.choose.recall,
         "share of the evidence that the prunings must keep, at every length; about 0.93 for a fast plan, 0.97 for a "
         "safe one")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--third-ratio", options.choose.third_ratio,
                 "share of the prompt that a last pruning keeps; 0: there is none")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--false-alarms", options.false_alarms, "share of good prunings that the safety rules may put off")
      ->check(CLI::Range(0.0, 0.5));
  app.add_option("--linear", options.linear, "numbers of the linear layers: bf16 or int8")
      ->check(CLI::IsMember({"bf16", "int8"}))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "0: all cores")->check(CLI::Range(0, 1024));
  CLI11_PARSE(app, argc, argv);

  SystemClock clock;
  Metrics metrics;
  const std::unique_ptr<kvstore::LocalKvStore> store =
      Must(kvstore::LocalKvStore::Create({.memory_bytes = uint64_t{2} << 30}, clock, &metrics));
  const std::unique_ptr<engine::StudyEngine> engine = Must(engine::MakePrunedEngine(
      {.model_path = options.model},
      Must(engine::MakeBackend("cpu", {.threads = options.threads, .linear = options.linear})), *store, metrics));
  const eval::Corpus corpus = Must(eval::Corpus::Load(eval::Split::kCalibration));
  ObservationFile file = Must(ObservationFile::Open(options.observations, ComputedBy(engine->info())));
  const std::vector<Observation> observations =
      Observe(*engine, corpus, options, file, kLearnedKinds, options.cases, /*seed=*/1, "learning");
  if (options.choose.name.empty()) options.choose.name = engine->info().model.name;
  Choice choice = Must(ChoosePlan(observations, engine->info().model, options.choose));
  PrintFindings("first pruning", choice.first_layers, options.choose.first_ratios);
  PrintFindings("second pruning", choice.second_layers, options.choose.second_ratios);

  if (options.threshold_cases > 0) {
    std::vector<std::string> kinds = kLearnedKinds;
    kinds.insert(kinds.end(), kControlKinds.begin(), kControlKinds.end());
    ChooseThresholds(
        Observe(*engine, corpus, options, file, kinds, options.threshold_cases, kThresholdSeeds, "setting thresholds"),
        engine->info().model, options.false_alarms, choice.plan);
  }
  const Json evidence = Evidence(options, engine->info(), choice, observations);
  Write(options.out, choice.plan, engine->info().model, evidence, "");
  std::printf("\nkeeps %.1f %% of the evidence at %.2fx fewer FLOPs\n%s\nwrote %s\n", 100 * choice.merit.recall,
              1 / choice.merit.cost, engine::PlanToJson(choice.plan).c_str(), options.out.c_str());
  if (options.verify_cases > 0) {
    const std::string table = eval::SummaryTable(Verify(*engine, choice.plan, options), {"dense", "plan"});
    Write(options.out, choice.plan, engine->info().model, evidence, table);
    std::printf("\n%s", table.c_str());
  }
  return 0;
}

}  // namespace
}  // namespace slimfill::calibrate

int main(int argc, char** argv) { return slimfill::calibrate::Main(argc, argv); }
