#include "engine/eval/run.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/eval/prompt.h"
#include "engine/stage.h"

namespace slimfill::eval {
namespace {

using engine::TokenId;

// What the prefill would cost without stored prefixes, from the tokens that its stages took in.
double ColdFlops(const engine::PrefillReport& report, const engine::ModelConfig& config) {
  engine::PrefillWork work;
  int first_layer = 0;
  for (const engine::StageReport& stage : report.stages) {
    const bool final = &stage == &report.stages.back();
    work += engine::ChunkWork({.first_layer = first_layer, .last_layer = stage.last_layer, .final = final}, config, 0,
                              stage.tokens_in);
    first_layer = stage.last_layer + 1;
  }
  return engine::Flops(work, config);
}

std::vector<double> Recall(const std::vector<engine::PruneTraceStage>& trace, const std::vector<int32_t>& evidence) {
  std::vector<double> recall;
  if (evidence.empty()) return recall;
  for (const engine::PruneTraceStage& stage : trace) {
    int64_t found = 0;
    for (const int32_t block : evidence) {
      found += std::binary_search(stage.kept_blocks.begin(), stage.kept_blocks.end(), block);
    }
    recall.push_back(static_cast<double>(found) / static_cast<double>(evidence.size()));
  }
  return recall;
}

absl::StatusOr<std::string> Generate(engine::StudyEngine& engine, engine::Sequence& sequence,
                                     engine::TokenEvent event) {
  std::string output = event.text;
  engine::Sequence* batch[] = {&sequence};
  while (event.finish == engine::FinishReason::kNone) {
    SLIMFILL_ASSIGN_OR_RETURN(event, std::move(engine.DecodeStep(batch)[0]));
    output += event.text;
  }
  return output;
}

// Mean negative log-likelihood of `answer` at the prompt's end.
absl::StatusOr<double> AnswerNll(engine::StudyEngine& engine, engine::Sequence& sequence,
                                 const std::vector<TokenId>& answer) {
  engine::SamplingParams sampling;
  sampling.max_tokens = static_cast<int32_t>(answer.size());
  sampling.forced_tokens = answer;
  sampling.logprobs = 0;
  sampling.ignore_eos = true;
  SLIMFILL_RETURN_IF_ERROR(engine.Restart(sequence, sampling));
  double sum = 0;
  engine::Sequence* batch[] = {&sequence};
  for (size_t i = 0; i < answer.size(); ++i) {
    SLIMFILL_ASSIGN_OR_RETURN(const engine::TokenEvent event, std::move(engine.DecodeStep(batch)[0]));
    sum -= event.logprob.value_or(0);
  }
  return sum / static_cast<double>(answer.size());
}

RunResult AsDense(const DenseRun& dense, const engine::PrefillReport& report, const CasePrompt& prompt) {
  RunResult result = *dense.result;
  result.same_as = dense.arm;
  result.ttft_seconds = 0;
  result.cached_tokens = report.cached_tokens;
  result.fallbacks = report.fallbacks;
  result.recall = Recall(report.trace, prompt.evidence_blocks);
  return result;
}

}  // namespace

absl::StatusOr<RunResult> Run(engine::StudyEngine& engine, const EvalCase& test_case, const Arm& arm,
                              const RunOptions& options, const DenseRun& dense) {
  SLIMFILL_ASSIGN_OR_RETURN(const CasePrompt prompt, RenderCase(engine, test_case));
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<TokenId> answer, engine.tokenizer().Encode(test_case.answer, false));
  engine::SequenceRequest request;
  request.prompt = prompt.chat.tokens;
  request.last_user_content = prompt.chat.content_ranges.back();
  request.pruning.mode = arm.mode;
  request.pruning.plan = arm.plan;
  request.pruning.trace = true;
  if (arm.needs_evidence) request.pruning.given_blocks = prompt.evidence_blocks;
  request.no_store = !options.reuse;
  request.sampling.max_tokens = std::max(options.max_tokens, static_cast<int>(answer.size()));

  const auto begin = std::chrono::steady_clock::now();
  SLIMFILL_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Sequence> sequence, engine.Start(std::move(request)));
  engine::PrefillStep step;
  while (!step.done) {
    SLIMFILL_ASSIGN_OR_RETURN(step, engine.PrefillChunk(*sequence));
    const engine::PrefillReport& so_far = sequence->prefill_report();
    if (dense.result != nullptr && so_far.fell_back_to_dense) return AsDense(dense, so_far, prompt);
  }
  RunResult result;
  result.ttft_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  // Free running first: what the forced answer's tokens bring back in decode must not help it.
  SLIMFILL_ASSIGN_OR_RETURN(result.output, Generate(engine, *sequence, *step.first_token));
  result.right = IsRight(test_case, result.output);
  const engine::DecodeReport decode = sequence->decode_report();
  result.decode_steps = decode.steps;
  result.swaps = decode.swaps;
  result.answer_tokens = static_cast<int64_t>(answer.size());
  if (!answer.empty()) {  // a summary has no reference
    SLIMFILL_ASSIGN_OR_RETURN(result.nll, AnswerNll(engine, *sequence, answer));
  }

  const engine::PrefillReport& report = sequence->prefill_report();
  const engine::ModelConfig& config = engine.info().model;
  result.prompt_tokens = report.prompt_tokens;
  result.cached_tokens = report.cached_tokens;
  result.flops_ratio = engine::DenseFlops(report.prompt_tokens, config) / ColdFlops(report, config);
  for (const engine::StageReport& stage : report.stages) result.kept.push_back(stage.tokens_kept);
  result.recall = Recall(report.trace, prompt.evidence_blocks);
  result.fallbacks = report.fallbacks;
  result.kv_ratio = static_cast<double>(report.dense_kv_bytes) / static_cast<double>(report.kv_bytes);
  return result;
}

}  // namespace slimfill::eval
