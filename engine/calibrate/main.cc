// slimfill-calibrate: finds a model's retrieval heads on synthetic questions over this machine's own texts and writes a
// prune plan with its evidence. What it learns from and what it verifies on share no document; the kinds of questions
// it verifies on include some that it never learned from.
#include <cstdio>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/must.h"
#include "engine/calibrate/cases.h"
#include "engine/calibrate/choose.h"
#include "engine/calibrate/observation_file.h"
#include "engine/calibrate/report.h"
#include "engine/calibrate/trial.h"
#include "engine/ops/backend_factory.h"
#include "engine/pruned_engine.h"
#include "kvstore/core/local_store.h"
#include "nlohmann/json.hpp"

namespace slimfill::calibrate {
namespace {

using Json = nlohmann::ordered_json;

const std::vector<std::string> kLearnedKinds = {"needle",   "multikey", "multivalue", "variables",
                                                "keyvalue", "code",     "multihop"};
const std::vector<std::string> kTriedKinds = {"needle",   "multikey", "multivalue", "variables",
                                              "keyvalue", "code",     "multihop",   "realqa"};
// Questions, and texts where nothing is asked.
const std::vector<std::string> kThresholdKinds = {"needle", "multikey", "multivalue",   "variables",      "keyvalue",
                                                  "code",   "multihop", "continuation", "summary_control"};
const std::vector<std::string> kVerifiedKinds = {"needle",          "multikey",    "keyvalue",  "code",
                                                 "multihop",        "realqa",      "variables", "aggregate",
                                                 "summary_control", "continuation"};
constexpr uint64_t kLearnSeeds = 1, kThresholdSeeds = 1000, kVerifySeeds = 2000, kTrialSeeds = 3000;

struct Options {
  std::string model, out, observations, linear = "bf16";
  std::vector<int64_t> lengths = {4096};
  int cases = 6, threshold_cases = 3, trial_cases = 3, verify_cases = 2, shared = 4, threads = 0;
  ChooseOptions choose;
  double false_alarms = 0.05, margin = 0.05;
};

// What observations depend on: the model, and how its linear layers are computed.
std::string ComputedBy(const engine::EngineInfo& info) {
  return info.arithmetic == "bf16" ? info.model_sha256 : absl::StrCat(info.model_sha256, ", ", info.arithmetic);
}

void AddOptions(CLI::App& app, Options& options) {
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
  app.add_option("--trial-cases", options.trial_cases,
                 "fresh ones of each kind and length, on which plans are tried end to end; 0: the cheapest is taken")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option("--margin", options.margin,
                 "nats a token that answers may be less likely than with dense prefill, mean over the trial's "
                 "questions, of which none counts more than 1; 0.05 for a fast plan, 0 for a safe one")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--shared", options.shared,
                 "questions that may share a document: what is planted for one distracts from the others")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--verify-cases", options.verify_cases, "of each kind and length, run end to end; 0: none")
      ->check(CLI::Range(0, 1000));
  app.add_option("--recall", options.choose.recall,
                 "least share of the evidence that the prunings must keep, at every length, for a plan to be tried")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_option("--false-alarms", options.false_alarms, "share of good prunings that the safety rules may put off")
      ->check(CLI::Range(0.0, 0.5));
  app.add_option("--linear", options.linear, "numbers of the linear layers: bf16 or int8")
      ->check(CLI::IsMember({"bf16", "int8"}))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "0: all cores")->check(CLI::Range(0, 1024));
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Finds a model's retrieval heads and writes a prune plan for it", "slimfill-calibrate");
  AddOptions(app, options);
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
  const auto questions = [&](const eval::Corpus& about, std::vector<std::string> kinds, int cases, uint64_t seed) {
    return Questions{about, options.lengths, options.shared, std::move(kinds), cases, seed};
  };
  const std::vector<Observation> observations =
      Observe(*engine, questions(corpus, kLearnedKinds, options.cases, kLearnSeeds), "learning", file);
  if (options.choose.name.empty()) options.choose.name = engine->info().model.name;
  const engine::ModelConfig& model = engine->info().model;
  std::fprintf(stderr, "searching for plans\n");
  const Findings findings = Must(FindPlans(observations, model, options.choose));
  PrintFindings("first pruning", findings.first_layers, options.choose.first.ratios);
  PrintFindings("second pruning", findings.second_layers, options.choose.second.ratios);
  PrintCandidates(findings.candidates);

  std::vector<Trial> trials;
  if (options.trial_cases > 0) {
    trials = TryPlans(*engine, questions(corpus, kTriedKinds, options.trial_cases, kTrialSeeds), findings.candidates,
                      options.margin);
    if (trials.back().loss > options.margin) {
      std::printf("no plan holds the margin of %.3f: this is the one that loses least\n", options.margin);
    }
  }
  Candidate chosen = findings.candidates[BestCandidate(trials, options.margin)];
  if (options.threshold_cases > 0) {
    const Questions fresh = questions(corpus, kThresholdKinds, options.threshold_cases, kThresholdSeeds);
    ChooseThresholds(Observe(*engine, fresh, "setting thresholds", file), model, options.false_alarms, chosen.plan);
  }
  Json evidence = {
      {"model_sha256", engine->info().model_sha256},
      {"linear", engine->info().arithmetic},
      {"lengths", options.lengths},
      {"learned_from", absl::StrCat(observations.size(), " prompts: ", absl::StrJoin(kLearnedKinds, ", "))},
      {"margin", options.margin}};
  evidence.update(EvidenceJson(options.choose, findings, chosen, trials));
  Must(WritePlan(options.out, chosen.plan, model, evidence));
  std::printf("\nkeeps %.1f %% of the evidence at %.2fx fewer FLOPs\n%s\nwrote %s\n", 100 * chosen.merit.recall,
              1 / chosen.merit.cost, engine::PlanToJson(chosen.plan).c_str(), options.out.c_str());
  if (options.verify_cases > 0) {
    const eval::Corpus held_out = Must(eval::Corpus::Load(eval::Split::kHeldOut));
    const std::vector<eval::CaseResult> results =
        RunCases(*engine, questions(held_out, kVerifiedKinds, options.verify_cases, kVerifySeeds), "verifying",
                 {Must(eval::MakeArm(kDenseArm, engine->info())), PlanArm(chosen.plan)}, {});
    const std::string table = eval::SummaryTable(results, {kDenseArm, kPlanArm});
    evidence["verified"] = table;
    Must(WritePlan(options.out, chosen.plan, model, evidence));
    std::printf("\n%s", table.c_str());
  }
  return 0;
}

}  // namespace
}  // namespace slimfill::calibrate

int main(int argc, char** argv) { return slimfill::calibrate::Main(argc, argv); }
