// slimfill-eval: what pruning costs in answers. Every case is run by every arm, the arms in turn; results are appended
// to a file line by line, so that a run that was stopped goes on where it ended.
#include <cstdio>
#include <fstream>
#include <map>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/must.h"
#include "engine/eval/arm.h"
#include "engine/eval/generate.h"
#include "engine/eval/run.h"
#include "engine/eval/summary.h"
#include "engine/ops/backend_factory.h"
#include "engine/pruned_engine.h"
#include "kvstore/core/local_store.h"
#include "nlohmann/json.hpp"

namespace slimfill::eval {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string model, out = "eval.jsonl", split = "held-out";
  std::vector<std::string> arms = {"dense", "auto"}, kinds;
  std::vector<int64_t> lengths = {4096};
  int cases = 10, threads = 0;
  uint64_t seed = 1;
  bool question_first = false, cold = false, summary_only = false;
  int max_tokens = 40;
};

struct CaseSpec {
  std::string kind;
  int64_t tokens;
  uint64_t seed;
  std::string Id(const Options& options) const {
    return absl::StrCat(options.split, "/", kind, "/", tokens, "/", seed,
                        options.question_first ? "/question-first" : "");
  }
};

// All kinds in turn, so that a run that is stopped early has seen all of them.
std::vector<CaseSpec> Specs(const Options& options) {
  std::vector<CaseSpec> specs;
  for (const int64_t tokens : options.lengths) {
    for (int i = 0; i < options.cases; ++i) {
      for (const std::string& kind : options.kinds) specs.push_back({kind, tokens, options.seed + i});
    }
  }
  return specs;
}

Json ToJson(const std::string& id, const EvalCase& test_case, const std::string& arm, const RunResult& run) {
  return {{"case", id},
          {"kind", test_case.kind},
          {"target_tokens", test_case.target_tokens},
          {"question_first", test_case.question_first},
          {"judged", !test_case.accept.empty()},
          {"arm", arm},
          {"prompt_tokens", run.prompt_tokens},
          {"right", run.right},
          {"nll", run.nll},
          {"answer_tokens", run.answer_tokens},
          {"ttft_s", run.ttft_seconds},
          {"flops_ratio", run.flops_ratio},
          {"kv_ratio", run.kv_ratio},
          {"kept", run.kept},
          {"recall", run.recall},
          {"fallbacks", run.fallbacks},
          {"decode_steps", run.decode_steps},
          {"swaps", run.swaps},
          {"answer", test_case.answer},
          {"output", run.output}};
}

RunResult FromJson(const Json& json) {
  RunResult run;
  run.prompt_tokens = json.at("prompt_tokens");
  run.right = json.at("right");
  run.nll = json.at("nll");
  run.answer_tokens = json.at("answer_tokens");
  run.ttft_seconds = json.at("ttft_s");
  run.flops_ratio = json.at("flops_ratio");
  run.kv_ratio = json.at("kv_ratio");
  run.kept = json.at("kept").get<std::vector<int64_t>>();
  run.recall = json.at("recall").get<std::vector<double>>();
  run.fallbacks = json.at("fallbacks").get<std::vector<std::string>>();
  run.decode_steps = json.at("decode_steps");
  run.swaps = json.at("swaps");
  run.output = json.at("output");
  return run;
}

// The file's results by case, in the order of their first lines.
class Results {
 public:
  explicit Results(const std::string& path) : path_(path) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
      const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (json.is_object()) Add(json);  // the last line of a run that was stopped may be cut off
    }
  }

  bool Has(const std::string& id, const std::string& arm) const {
    const auto found = index_.find(id);
    return found != index_.end() && cases_[found->second].by_arm.contains(arm);
  }
  void Append(const Json& json) {
    std::ofstream file(path_, std::ios::app);
    // Outputs may break off inside a character.
    file << json.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
    Add(json);
  }
  const std::vector<CaseResult>& cases() const { return cases_; }

 private:
  void Add(const Json& json) {
    try {
      const std::string id = json.at("case");
      const auto [entry, added] = index_.try_emplace(id, cases_.size());
      if (added) {
        cases_.push_back({.case_id = id,
                          .kind = json.at("kind"),
                          .target_tokens = json.at("target_tokens"),
                          .question_first = json.at("question_first"),
                          .judged = json.at("judged")});
      }
      cases_[entry->second].by_arm[json.at("arm")] = FromJson(json);
    } catch (const Json::exception& error) {
      std::fprintf(stderr, "slimfill-eval: %s: a line is not ours (%s): give --out another file\n", path_.c_str(),
                   error.what());
      std::exit(1);
    }
  }

  const std::string path_;
  std::map<std::string, size_t> index_;
  std::vector<CaseResult> cases_;
};

std::unique_ptr<engine::StudyEngine> LoadEngine(const Options& options, kvstore::KvStore& store, Metrics& metrics) {
  engine::PrunedEngineOptions engine_options;
  engine_options.model_path = options.model;
  auto backend = Must(engine::MakeBackend("cpu", {.threads = options.threads}));
  return Must(engine::MakePrunedEngine(engine_options, std::move(backend), store, metrics));
}

void RunAll(const Options& options, engine::StudyEngine& engine, const std::vector<Arm>& arms, Results& results) {
  const Corpus corpus = Must(Corpus::Load(options.split == "calibration" ? Split::kCalibration : Split::kHeldOut));
  const RunOptions run_options{.max_tokens = options.max_tokens, .reuse = !options.cold};
  const std::vector<CaseSpec> specs = Specs(options);
  for (size_t i = 0; i < specs.size(); ++i) {
    const CaseSpec& spec = specs[i];
    const std::string id = spec.Id(options);
    const EvalCase test_case =
        Must(MakeCase(corpus, engine.tokenizer(), spec.kind, spec.tokens, spec.seed, options.question_first));
    std::string line = absl::StrFormat("[%d/%d] %s", i + 1, specs.size(), id);
    for (const Arm& arm : arms) {
      if (results.Has(id, arm.name)) continue;
      const RunResult run = Must(Run(engine, test_case, arm, run_options));
      results.Append(ToJson(id, test_case, arm.name, run));
      absl::StrAppendFormat(&line, "  %s %s %.2f", arm.name, run.right ? "right" : "-", run.nll);
    }
    std::fprintf(stderr, "%s\n", line.c_str());
  }
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Answers of pruned prefill against dense on seeded long-context tasks", "slimfill-eval");
  std::vector<std::string> arm_lines;
  for (const auto& [name, meaning] : ArmNames()) arm_lines.push_back(absl::StrCat("  ", name, ": ", meaning));
  app.footer(absl::StrCat("Arms:\n", absl::StrJoin(arm_lines, "\n"),
                          "\n  plan:FILE: a plan file\nEach also with -noswap: decode never exchanges blocks.\n"
                          "Kinds: ",
                          absl::StrJoin(TaskKinds(), ", ")));
  app.add_option("--model", options.model, "GGUF file")->required()->check(CLI::ExistingFile);
  app.add_option("--arms", options.arms, "what to compare; the first is what the others are compared with")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--kinds", options.kinds, "tasks; all by default")->delimiter(',')->check(CLI::IsMember(TaskKinds()));
  app.add_option("--lengths", options.lengths, "tokens of the documents")->delimiter(',')->capture_default_str();
  app.add_option("--cases", options.cases, "of each kind and length")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--seed", options.seed, "of the first case")->capture_default_str();
  app.add_option("--split", options.split, "held-out, or calibration")
      ->check(CLI::IsMember({"held-out", "calibration"}))
      ->capture_default_str();
  app.add_option("--out", options.out, "results, a JSON line each; goes on where the file ends")->capture_default_str();
  app.add_option("--max-tokens", options.max_tokens, "of the free-running answer")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "0: all cores")->check(CLI::Range(0, 1024));
  app.add_flag("--question-first", options.question_first, "the question before the document");
  app.add_flag("--cold", options.cold, "no reuse between arms: ttft_s is then a cold TTFT");
  app.add_flag("--summary", options.summary_only, "only print what --out holds");
  CLI11_PARSE(app, argc, argv);
  if (options.kinds.empty()) options.kinds = TaskKinds();

  Results results(options.out);
  if (!options.summary_only) {
    SystemClock clock;
    Metrics metrics;
    const std::unique_ptr<kvstore::LocalKvStore> store =
        Must(kvstore::LocalKvStore::Create({.memory_bytes = uint64_t{2} << 30}, clock, &metrics));
    const std::unique_ptr<engine::StudyEngine> engine = LoadEngine(options, *store, metrics);
    std::vector<Arm> arms;
    for (const std::string& name : options.arms) arms.push_back(Must(MakeArm(name, engine->info())));
    RunAll(options, *engine, arms, results);
  }
  std::printf("%s", SummaryTable(results.cases(), options.arms).c_str());
  return 0;
}

}  // namespace
}  // namespace slimfill::eval

int main(int argc, char** argv) { return slimfill::eval::Main(argc, argv); }
