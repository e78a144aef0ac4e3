// One case run by one arm.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/eval/arm.h"
#include "engine/eval/task.h"
#include "engine/study_engine.h"

namespace slimfill::eval {

struct RunOptions {
  int max_tokens = 40;  // of the free-running answer
  bool reuse = true;    // stage 1 may come from the KV store: the same results, sooner, but no cold TTFT
};

struct RunResult {
  int64_t prompt_tokens = 0;
  std::string output;         // greedy
  bool right = false;         // see IsRight
  double nll = 0;             // of the reference answer, teacher forced: nats for a token, mean
  int64_t answer_tokens = 0;  // 0: the case has no reference answer, and no nll
  double ttft_seconds = 0;
  int64_t cached_tokens = 0;   // that came from the store: with any, the TTFT is not a cold one
  std::string same_as;         // the dense arm whose results these are, because the safety rules fell back to dense
  double flops_ratio = 1;      // dense over this arm's cold prefill, by the work model
  std::vector<int64_t> kept;   // tokens after each stage
  std::vector<double> recall;  // share of the evidence's blocks kept, after each pruning that took place
  std::vector<std::string> fallbacks;
  int64_t decode_steps = 0;
  int64_t swaps = 0;
  double kv_ratio = 1;  // KV pages held, dense over this arm
};

// The results of a dense arm on the same case.
struct DenseRun {
  std::string arm;
  const RunResult* result = nullptr;
};

// `engine` is used by this thread alone while it runs. With `dense`, a prompt that falls back to dense is not run to
// its end: its results are those, bit for bit (docs/contracts.md), but for the TTFT, which is left at 0.
absl::StatusOr<RunResult> Run(engine::StudyEngine& engine, const EvalCase& test_case, const Arm& arm,
                              const RunOptions& options, const DenseRun& dense = {});

}  // namespace slimfill::eval
