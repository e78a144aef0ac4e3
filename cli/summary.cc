#include "cli/summary.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace slimfill::cli {
namespace {

std::string ReasonName(v1::FinishReason reason) {
  return absl::AsciiStrToLower(absl::StripPrefix(v1::FinishReason_Name(reason), "FINISH_REASON_"));
}

std::vector<int64_t> KeptTokens(const v1::Finished& finished) {
  std::vector<int64_t> kept;
  for (const v1::StageSummary& stage : finished.stages()) kept.push_back(stage.tokens_kept());
  return kept;
}

std::string SpeedupLine(const v1::Finished& finished) {
  const std::optional<double> speedup = Speedup(finished);
  if (!speedup.has_value()) return "speedup   not known yet: the server still learns how long dense prefill takes\n";
  const v1::DenseEquivalent& dense = finished.dense_equivalent();
  return absl::StrFormat("speedup   %.2fx to the first token (dense: %.2f s by method %s, error %.0f%%)\n", *speedup,
                         dense.ttft_ms() / 1e3, dense.method(), 100 * dense.error_ratio());
}

}  // namespace

std::optional<double> Speedup(const v1::Finished& finished) {
  if (!finished.has_dense_equivalent() || finished.timings().ttft_ms() <= 0) return std::nullopt;
  return finished.dense_equivalent().ttft_ms() / finished.timings().ttft_ms();
}

std::string SummaryText(const v1::Finished& finished) {
  const v1::Timings& timings = finished.timings();
  const v1::Usage& usage = finished.usage();
  const double per_token = timings.mean_inter_token_ms();
  std::string text = absl::StrFormat("ttft      %.2f s (queue %.2f s, prefill %.2f s)\n", timings.ttft_ms() / 1e3,
                                     timings.queue_ms() / 1e3, timings.prefill_ms() / 1e3);
  absl::StrAppendFormat(&text, "answer    %d tokens%s, ended by %s\n", usage.output_tokens(),
                        per_token > 0 ? absl::StrFormat(", %.1f tokens/s", 1e3 / per_token) : "",
                        ReasonName(finished.reason()));
  absl::StrAppendFormat(&text, "prompt    %d tokens, %d from the KV store; kept per stage: %s\n", usage.prompt_tokens(),
                        usage.cached_tokens(), absl::StrJoin(KeptTokens(finished), " > "));
  if (finished.pruned()) text += SpeedupLine(finished);
  absl::StrAppendFormat(&text, "served by %s%s\n", finished.served_by(),
                        finished.fallbacks().empty() ? "" : " (" + absl::StrJoin(finished.fallbacks(), ", ") + ")");
  return text;
}

nlohmann::json SummaryJson(const std::string& text, const v1::Finished& finished) {
  const v1::Timings& timings = finished.timings();
  nlohmann::json json = {
      {"text", text},
      {"prompt_tokens", finished.usage().prompt_tokens()},
      {"cached_tokens", finished.usage().cached_tokens()},
      {"output_tokens", finished.usage().output_tokens()},
      {"ttft_ms", timings.ttft_ms()},
      {"prefill_ms", timings.prefill_ms()},
      {"queue_ms", timings.queue_ms()},
      {"total_ms", timings.total_ms()},
      {"mean_inter_token_ms", timings.mean_inter_token_ms()},
      {"finish_reason", ReasonName(finished.reason())},
      {"kept_tokens", KeptTokens(finished)},
      {"pruned", finished.pruned()},
      {"served_by", finished.served_by()},
      {"fallbacks", std::vector<std::string>(finished.fallbacks().begin(), finished.fallbacks().end())},
      {"dense_equivalent_ttft_ms", nullptr},
      {"dense_equivalent_method", nullptr},
      {"speedup", nullptr},
      {"seed", finished.seed()},
  };
  if (finished.has_dense_equivalent()) {
    json["dense_equivalent_ttft_ms"] = finished.dense_equivalent().ttft_ms();
    json["dense_equivalent_method"] = finished.dense_equivalent().method();
  }
  if (const std::optional<double> speedup = Speedup(finished); speedup.has_value()) json["speedup"] = *speedup;
  return json;
}

}  // namespace slimfill::cli
