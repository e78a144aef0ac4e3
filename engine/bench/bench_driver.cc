// Our engine as a driver of scripts/bench.sh: one JSON request a line on stdin, one answer a line on stdout
// (scripts/bench/lines.py describes the protocol).
//
// ops: prompt {tokens, next}: the benchmark's prompt, for every engine; next: another question about the same text;
//      peak {}: what the machine can do at most, measured now on all threads at once;
//      prefill {tokens, content, pruned, store}: from tokens to the first token, and by op; with store, what an earlier
//      prompt left there is used, and this one's is left;
//      open {name, tokens, content, pruned, batch, max_tokens}: prefills a batch, untimed, and holds it;
//      decode {name, steps}: so many steps of a batch, timed;  close {name}.
#include <time.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <thread>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/clock_seconds.h"
#include "base/status.h"
#include "engine/bench/bench_prompt.h"
#include "engine/ops/backend_factory.h"
#include "engine/ops/bench/peak.h"
#include "engine/ops/profiled_backend.h"
#include "engine/pruned_engine.h"
#include "engine/stage.h"
#include "kvstore/core/local_store.h"
#include "nlohmann/json.hpp"

namespace slimfill::engine {
namespace {

using Json = nlohmann::json;

constexpr double kDepth = 0.4;  // of the line that the question is about

struct Options {
  std::string model, document, linear = "bf16";
  int threads = 0;
  int64_t context = 32768 + 1024;
  int64_t kv_pages_bytes = int64_t{16} << 30;  // taken as it is needed
};

class Stopwatch {
 public:
  Json Read() const {
    return {{"wall_s", ClockSeconds(CLOCK_MONOTONIC) - wall_},
            {"cpu_s", ClockSeconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_}};
  }

 private:
  const double wall_ = ClockSeconds(CLOCK_MONOTONIC);
  const double cpu_ = ClockSeconds(CLOCK_PROCESS_CPUTIME_ID);  // of all threads
};

class Driver {
 public:
  // `profile`: of the engine's backend.
  Driver(Engine& engine, OpProfile& profile, std::string document, int threads)
      : engine_(engine), profile_(profile), document_(std::move(document)), threads_(threads) {}

  Json About() const {
    const ModelConfig& config = engine_.info().model;
    return {{"ready", true},
            {"version", absl::StrCat("slimfill ", SLIMFILL_VERSION, ", ", engine_.info().backend, ", plan ",
                                     engine_.info().plan_name)},
            {"weight_bytes", WeightBytes(config, engine_.info().arithmetic == "bf16" ? 2 : kInt8Bytes)},
            {"model",
             {{"name", config.name},
              {"layers", config.layers},
              {"hidden", config.hidden},
              {"heads", config.heads},
              {"kv_heads", config.kv_heads},
              {"head_dim", config.head_dim},
              {"ffn", config.ffn},
              {"vocab", config.vocab}}}};
  }

  absl::StatusOr<Json> Answer(const Json& request) {
    const std::string op = request.at("op");
    if (op == "prompt") return Prompt(request);
    if (op == "peak") return Peak();
    if (op == "prefill") return Prefill(request);
    if (op == "open") return Open(request);
    if (op == "decode") return Decode(request);
    if (op == "close") return Close(request);
    if (op == "idle") return Idle();
    return absl::InvalidArgumentError(absl::StrCat("unknown op '", op, "'"));
  }

 private:
  static constexpr double kInt8Bytes = 1 + 2.0 / 64;  // of a weight, with its share of a group's scale

  // What a decode step reads of the weights: every matrix of the layers, and the output's.
  static double WeightBytes(const ModelConfig& config, double bytes) {
    const double attention = (2.0 * config.heads + 2.0 * config.kv_heads) * config.head_dim * config.hidden;
    const double layer = attention + 3.0 * config.hidden * config.ffn;
    return bytes * (config.layers * layer + 1.0 * config.hidden * config.vocab);
  }

  using Batch = std::vector<std::unique_ptr<Sequence>>;

  absl::StatusOr<Json> Prompt(const Json& request) const {
    SLIMFILL_ASSIGN_OR_RETURN(const BenchPrompt prompt, MakeBenchPrompt(engine_, document_, request.at("tokens"),
                                                                        kDepth, request.value("question", 0)));
    return Json{{"tokens", prompt.tokens}, {"content", prompt.content}};
  }

  Json Peak() const {
    return {{"bf16_flops", MeasureBf16Peak(threads_)}, {"read_bytes_per_second", MeasureReadBandwidth(threads_)}};
  }

  // Through prefill; `event` is the first token.
  absl::StatusOr<std::unique_ptr<Sequence>> Start(const Json& request, int max_tokens, TokenEvent& event) {
    SequenceRequest start;
    start.prompt = request.at("tokens").get<std::vector<TokenId>>();
    start.last_user_content = request.at("content").get<std::pair<int64_t, int64_t>>();
    start.pruning.mode = request.at("pruned").get<bool>() ? PruningMode::kAuto : PruningMode::kOff;
    start.no_store = !request.value("store", false);
    // Whoever wants to see what is kept gets pruning, whatever the store has of a dense run.
    start.pruning.trace = !start.no_store && !request.value("hot", false);
    start.sampling.max_tokens = max_tokens;
    start.sampling.ignore_eos = true;
    SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<Sequence> sequence, engine_.Start(std::move(start)));
    PrefillStep step;
    while (!step.done) {
      SLIMFILL_ASSIGN_OR_RETURN(step, engine_.PrefillChunk(*sequence));
    }
    event = *std::move(step.first_token);
    return sequence;
  }

  absl::StatusOr<Json> Prefill(const Json& request) {
    TokenEvent event;
    profile_.Clear();
    const Stopwatch stopwatch;
    SLIMFILL_ASSIGN_OR_RETURN(const std::unique_ptr<Sequence> sequence, Start(request, 1, event));
    Json answer = stopwatch.Read();
    const PrefillReport& report = sequence->prefill_report();
    answer["token"] = event.token;
    answer["flops"] = Flops(report.work, engine_.info().model);
    answer["fallbacks"] = report.fallbacks;
    answer["cached_tokens"] = report.cached_tokens;
    for (const OpTime& time : profile_.times()) answer["profile"][time.op] = time.seconds;
    for (const StageReport& stage : report.stages) answer["stage_tokens"].push_back(stage.tokens_in);
    return answer;
  }

  absl::StatusOr<Json> Open(const Json& request) {
    Batch batch;
    TokenEvent event;
    int64_t kv_bytes = 0;
    for (int i = 0; i < request.at("batch").get<int>(); ++i) {
      SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<Sequence> sequence, Start(request, request.at("max_tokens"), event));
      kv_bytes += sequence->prefill_report().kv_bytes;
      batch.push_back(std::move(sequence));
    }
    batches_[request.at("name")] = std::move(batch);
    return Json{{"kv_bytes", kv_bytes}};
  }

  absl::StatusOr<Json> Decode(const Json& request) {
    const auto found = batches_.find(request.at("name"));
    if (found == batches_.end()) return absl::NotFoundError("no such batch is open");
    std::vector<Sequence*> batch;
    for (const auto& sequence : found->second) batch.push_back(sequence.get());
    const Stopwatch stopwatch;
    for (int step = 0; step < request.at("steps").get<int>(); ++step) {
      for (const absl::StatusOr<TokenEvent>& event : engine_.DecodeStep(batch)) {
        SLIMFILL_RETURN_IF_ERROR(event.status());
        if (event->finish != FinishReason::kNone) return absl::InternalError("a sequence ended before its time");
      }
    }
    return stopwatch.Read();
  }

  absl::StatusOr<Json> Close(const Json& request) {
    batches_.erase(request.at("name"));
    return Json::object();
  }

  // All that there is to do in idle time.
  Json Idle() {
    const Stopwatch stopwatch;
    while (engine_.RunIdleChunk()) {
    }
    return stopwatch.Read();
  }

  Engine& engine_;
  OpProfile& profile_;
  const std::string document_;
  const int threads_;
  std::map<std::string, Batch> batches_;
};

absl::Status Run(const Options& options) {
  std::ifstream file(options.document, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read the document '", options.document, "'"));
  std::string document((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const int threads =
      options.threads > 0 ? options.threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  SystemClock clock;
  Metrics metrics;
  SLIMFILL_ASSIGN_OR_RETURN(const std::unique_ptr<kvstore::LocalKvStore> store,
                            kvstore::LocalKvStore::Create({}, clock, &metrics));
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<Backend> backend,
                            MakeBackend("cpu", {.threads = threads, .linear = options.linear}));
  OpProfile profile;
  PrunedEngineOptions engine_options;
  engine_options.model_path = options.model;
  engine_options.max_context = options.context;
  engine_options.kv_pages_bytes = options.kv_pages_bytes;
  SLIMFILL_ASSIGN_OR_RETURN(
      const std::unique_ptr<Engine> engine,
      MakePrunedEngine(engine_options, MakeProfiledBackend(std::move(backend), profile), *store, metrics));
  Driver driver(*engine, profile, std::move(document), threads);
  std::cout << driver.About().dump() << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    Json answer;
    try {  // nlohmann's lookups throw; a bad request is answered like any other
      const absl::StatusOr<Json> result = driver.Answer(Json::parse(line));
      answer = result.ok() ? *result : Json{{"error", std::string(result.status().message())}};
    } catch (const Json::exception& error) {
      answer = {{"error", error.what()}};
    }
    std::cout << answer.dump() << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace slimfill::engine

int main(int argc, char** argv) {
  slimfill::engine::Options options;
  CLI::App app{"Our engine as a driver of scripts/bench.sh"};
  app.add_option("--model", options.model, "GGUF file, or directory with safetensors")->required();
  app.add_option("--document", options.document, "text that the prompt is about")->required();
  app.add_option("--linear", options.linear, "bf16 or int8");
  app.add_option("--threads", options.threads, "0: all cores");
  app.add_option("--context", options.context, "tokens of the longest prompt with its answer");
  app.add_option("--kv-pages-bytes", options.kv_pages_bytes, "KV that may be held at once");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = slimfill::engine::Run(options);
  if (!status.ok()) {
    std::cout << nlohmann::json{{"error", std::string(status.message())}}.dump() << std::endl;
    return 1;
  }
}
