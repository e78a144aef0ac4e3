// Dense against pruned prefill on one machine, interleaved: time to first token, kept tokens, answer.
// The document is repeated or cut to the number of tokens asked for; a line with a number to look up is put in it.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/must.h"
#include "engine/bench/bench_prompt.h"
#include "engine/ops/backend_factory.h"
#include "engine/pruned_engine.h"
#include "kvstore/core/local_store.h"

namespace slimfill::engine {
namespace {

struct Options {
  std::string model, backend = "cpu", linear = "bf16", document, plan = "fast";
  int64_t tokens = 8192;
  int64_t chunk_tokens = 1024;
  int threads = 0, repeats = 3, max_tokens = 16;
  double depth = 0.4;
  bool warm = false;
};

struct Run {
  double seconds = 0;
  std::string answer;
  PrefillReport report;
};

Run RunOnce(Engine& engine, const BenchPrompt& prompt, PruningMode mode, const Options& options) {
  SequenceRequest request;
  request.prompt = prompt.tokens;
  request.last_user_content = prompt.content;
  request.pruning.mode = mode;
  request.no_store = !options.warm;
  request.sampling.max_tokens = options.max_tokens;
  Run run;
  const auto begin = std::chrono::steady_clock::now();
  const std::unique_ptr<Sequence> sequence = Must(engine.Start(std::move(request)));
  PrefillStep step;
  while (!step.done) step = Must(engine.PrefillChunk(*sequence));
  run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  TokenEvent event = *step.first_token;
  run.answer = event.text;
  Sequence* batch[] = {sequence.get()};
  while (event.finish == FinishReason::kNone) {
    event = Must(std::move(engine.DecodeStep(batch)[0]));
    run.answer += event.text;
  }
  run.report = sequence->prefill_report();
  return run;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void Print(const char* label, const std::vector<Run>& runs, int64_t tokens) {
  std::vector<double> seconds;
  for (const Run& run : runs) seconds.push_back(run.seconds);
  const Run& last = runs.back();
  std::vector<std::string> kept;
  for (const StageReport& stage : last.report.stages) {
    kept.push_back(absl::StrCat(stage.tokens_in, " (", static_cast<int>(stage.compute_seconds * 1000), " ms)"));
  }
  std::printf("%-7s TTFT median %.3f s (min %.3f, max %.3f)  %.0f tok/s  stages %s  %s  KV %.1f MiB  answer: %s\n",
              label, Median(seconds), *std::min_element(seconds.begin(), seconds.end()),
              *std::max_element(seconds.begin(), seconds.end()), static_cast<double>(tokens) / Median(seconds),
              absl::StrJoin(kept, " > ").c_str(), absl::StrJoin(last.report.fallbacks, ",").c_str(),
              static_cast<double>(last.report.kv_bytes) / (1 << 20), last.answer.c_str());
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Dense against pruned prefill");
  app.add_option("--model", options.model)->required();
  app.add_option("--document", options.document, "text file")->required();
  app.add_option("--backend", options.backend);
  app.add_option("--linear", options.linear, "bf16 or int8");
  app.add_option("--plan", options.plan);
  app.add_option("--tokens", options.tokens);
  app.add_option("--chunk-tokens", options.chunk_tokens);
  app.add_option("--threads", options.threads);
  app.add_option("--repeats", options.repeats);
  app.add_option("--max-tokens", options.max_tokens);
  app.add_option("--depth", options.depth);
  app.add_flag("--warm", options.warm, "use and fill the KV store");
  CLI11_PARSE(app, argc, argv);

  std::ifstream file(options.document);
  const std::string document((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  SystemClock clock;
  Metrics metrics;
  const std::unique_ptr<kvstore::LocalKvStore> store = Must(kvstore::LocalKvStore::Create({}, clock, &metrics));
  PrunedEngineOptions engine_options;
  engine_options.model_path = options.model;
  engine_options.plan = options.plan;
  engine_options.chunk_tokens = options.chunk_tokens;
  engine_options.max_context = options.tokens + 1024;
  const auto load_begin = std::chrono::steady_clock::now();
  const std::unique_ptr<Engine> engine = Must(MakePrunedEngine(
      engine_options, Must(MakeBackend(options.backend, {.threads = options.threads, .linear = options.linear})),
      *store, metrics));
  std::printf("%s, %s, loaded in %.2f s\n", engine->info().model.name.c_str(), engine->info().backend.c_str(),
              std::chrono::duration<double>(std::chrono::steady_clock::now() - load_begin).count());

  const BenchPrompt prompt = Must(MakeBenchPrompt(*engine, document, options.tokens, options.depth));
  std::vector<Run> dense, pruned;
  for (int i = 0; i < options.repeats; ++i) {
    dense.push_back(RunOnce(*engine, prompt, PruningMode::kOff, options));
    pruned.push_back(RunOnce(*engine, prompt, PruningMode::kAuto, options));
  }
  Print("dense", dense, options.tokens);
  Print("pruned", pruned, options.tokens);
  std::vector<double> ratios;
  for (int i = 0; i < options.repeats; ++i) ratios.push_back(dense[i].seconds / pruned[i].seconds);
  std::printf("TTFT dense / pruned, median of pairs: %.2f\n", Median(ratios));
  return 0;
}

}  // namespace
}  // namespace slimfill::engine

int main(int argc, char** argv) { return slimfill::engine::Main(argc, argv); }
