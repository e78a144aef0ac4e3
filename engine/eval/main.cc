// slimfill-eval: what pruning costs in answers. Every case is run by every arm, the arms in turn; results are appended
// to a file line by line, so that a run that was stopped goes on where it ended.
#include <cstdio>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/must.h"
#include "engine/eval/arm.h"
#include "engine/eval/engine_pool.h"
#include "engine/eval/generate.h"
#include "engine/eval/results.h"
#include "engine/eval/run.h"
#include "engine/eval/summary.h"
#include "engine/eval/workload.h"

namespace slimfill::eval {
namespace {

struct Options {
  std::string model, out = "eval.jsonl", split = "held-out", linear = "bf16";
  std::vector<std::string> arms = {"dense", "fast", "safe"};
  Workload workload = {.lengths = {4096}, .cases = 10};
  int threads = 0;
  bool question_first = false, cold = false, summary_only = false;
  int max_tokens = 40;
};

// "held-out/needle/4096/3".
std::string FullName(const std::string& name, const Options& options) {
  return absl::StrCat(options.split, "/", name, options.question_first ? "/question-first" : "");
}

// The dense run of a case that a run which falls back to dense need not repeat; none where its time is to be measured.
DenseRun FindDense(const Options& options, const std::vector<Arm>& arms, const std::string& case_id,
                   const Results& results) {
  for (const Arm& arm : arms) {
    if (arm.mode == engine::PruningMode::kOff && !options.cold) return {arm.name, results.Find(case_id, arm.name)};
  }
  return {};
}

void RunCase(const Options& options, EnginePool& engines, const std::vector<Arm>& arms, const std::string& document_id,
             const std::string& case_id, const EvalCase& test_case, Results& results) {
  const RunOptions run_options = {.max_tokens = options.max_tokens, .reuse = !options.cold};
  std::string line;
  for (const Arm& arm : arms) {
    if (results.Find(case_id, arm.name) != nullptr) continue;
    const DenseRun dense = FindDense(options, arms, case_id, results);
    const RunResult run = Must(Run(*Must(engines.For(arm)), test_case, arm, run_options, dense));
    Must(results.Append(case_id, document_id, test_case, arm, run));
    absl::StrAppendFormat(&line, "  %s %s %.2f", arm.name, run.right ? "right" : "-", run.nll);
  }
  std::fprintf(stderr, "%s%s\n", case_id.c_str(), line.c_str());
}

// Document by document, each with all its questions, each by all arms: so a document's prefix stays in the store while
// it serves.
void RunDocuments(const Options& options, const Corpus& corpus, EnginePool& engines, const std::vector<Arm>& arms,
                  Results& results) {
  const engine::Tokenizer& tokenizer = engines.main().tokenizer();
  const std::vector<DocumentSpec> documents = PlanDocuments(options.workload);
  for (size_t i = 0; i < documents.size(); ++i) {
    const DocumentSpec& document = documents[i];
    const std::vector<EvalCase> cases = Must(MakeCases(corpus, tokenizer, document, options.question_first));
    std::fprintf(stderr, "document %zu of %zu\n", i + 1, documents.size());
    for (size_t j = 0; j < cases.size(); ++j) {
      RunCase(options, engines, arms, FullName(DocumentName(document), options),
              FullName(CaseName(document, document.questions[j]), options), cases[j], results);
    }
  }
}

Results RunAll(const Options& options) {
  const Corpus corpus = Must(Corpus::Load(options.split == "calibration" ? Split::kCalibration : Split::kHeldOut));
  const bool by_depth = options.workload.shared > 1 && !options.cold;
  const std::unique_ptr<EnginePool> engines = Must(EnginePool::Create(
      {.model_path = options.model, .linear = options.linear, .threads = options.threads, .by_depth = by_depth}));
  const engine::EngineInfo& info = engines->main().info();
  Results results = Must(Results::Open(options.out, Provenance{.corpus = absl::StrFormat("%016x", corpus.fingerprint()),
                                                               .model = info.model.name,
                                                               .model_sha256 = info.model_sha256,
                                                               .linear = info.arithmetic,
                                                               .max_tokens = options.max_tokens,
                                                               .program = "slimfill-eval " SLIMFILL_VERSION}));
  std::vector<Arm> arms;
  for (const std::string& name : options.arms) {
    arms.push_back(Must(MakeArm(name, info)));
    Must(results.CheckPlan(arms.back()));
  }
  RunDocuments(options, corpus, *engines, arms, results);
  return results;
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
  app.add_option("--model", options.model, "GGUF file, or directory with safetensors")
      ->required()
      ->check(CLI::ExistingPath);
  app.add_option("--arms", options.arms, "what to compare; the first is what the others are compared with")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--kinds", options.workload.kinds, "tasks; all by default")
      ->delimiter(',')
      ->check(CLI::IsMember(TaskKinds()));
  app.add_option("--lengths", options.workload.lengths, "tokens of the documents")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--cases", options.workload.cases, "of each kind and length")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--seed", options.workload.seed, "of the first case")->capture_default_str();
  app.add_option(
         "--shared", options.workload.shared,
         "questions that may share a document, which is prefilled once for all of them; what is planted for one "
         "distracts from the others")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--split", options.split, "held-out, or calibration")
      ->check(CLI::IsMember({"held-out", "calibration"}))
      ->capture_default_str();
  app.add_option("--out", options.out, "results, a JSON line each; goes on where the file ends")->capture_default_str();
  app.add_option("--max-tokens", options.max_tokens, "of the free-running answer")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--linear", options.linear, "numbers of the linear layers: bf16 or int8")
      ->check(CLI::IsMember({"bf16", "int8"}))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "0: all cores")->check(CLI::Range(0, 1024));
  app.add_flag("--question-first", options.question_first, "the question before the document");
  app.add_flag("--cold", options.cold, "no reuse between arms: ttft_s is then a cold TTFT");
  app.add_flag("--summary", options.summary_only, "only print what --out holds");
  CLI11_PARSE(app, argc, argv);
  if (options.workload.kinds.empty()) options.workload.kinds = TaskKinds();

  const Results results = options.summary_only ? Must(Results::Open(options.out, std::nullopt)) : RunAll(options);
  std::printf("%s", SummaryTable(results.cases(), options.arms).c_str());
  return 0;
}

}  // namespace
}  // namespace slimfill::eval

int main(int argc, char** argv) { return slimfill::eval::Main(argc, argv); }
