#include "scheduler/request_report.h"

#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/logging.h"
#include "base/metric_names.h"

namespace slimfill::scheduler {
namespace {

// Text that came over the wire must not forge fields or lines of the log.
std::string LogSafe(absl::string_view text) {
  constexpr size_t kMaxLength = 128;
  if (text.empty()) return "-";
  std::string safe(text.substr(0, kMaxLength));
  for (char& c : safe) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) &&
        absl::string_view("-_./:").find(c) == absl::string_view::npos)
      c = '_';
  }
  return safe;
}

int64_t Milliseconds(absl::Duration duration) { return absl::ToInt64Milliseconds(duration); }

// Tokens kept after each pruning, such as 2048/1536/1024.
std::string Kept(const engine::PrefillReport& report) {
  if (!report.pruned || report.stages.empty()) return "all";
  return absl::StrJoin(
      report.stages.begin(), report.stages.end() - 1, "/",
      [](std::string* out, const engine::StageReport& stage) { absl::StrAppend(out, stage.tokens_kept); });
}

void LogEnd(const RequestState& state, const absl::Status& outcome) {
  const Timings timings = state.timings();
  const engine::PrefillReport& report = state.prefill_report;
  const bool our_fault = outcome.code() == absl::StatusCode::kInternal;
  spdlog::log(our_fault ? spdlog::level::err : spdlog::level::info,
              "request id={} method={} trace={} outcome={} prompt_tokens={} cached_tokens={} output_tokens={} kept={} "
              "queue_ms={} prefill_ms={} ttft_ms={} total_ms={} served_by={}{}",
              state.id, LogSafe(state.request.method), LogSafe(state.request.trace_id),
              absl::StatusCodeToString(outcome.code()), state.prompt_tokens, state.cached_tokens, state.output_tokens,
              Kept(report), Milliseconds(timings.queue), Milliseconds(timings.prefill), Milliseconds(timings.ttft),
              Milliseconds(timings.total), LogSafe(report.served_by),
              our_fault ? absl::StrCat(" error=\"", absl::CEscape(outcome.message()), "\"") : std::string());
}

const char* Mode(const engine::PrefillReport& report) {
  if (report.pruned) return "pruned";
  return report.hot ? "hot" : "dense";
}

}  // namespace

void ReportFirstToken(const RequestState& state, Metrics& metrics) {
  const engine::PrefillReport& report = state.sequence->prefill_report();
  metrics.Observe(metric::kTtft, absl::ToDoubleSeconds(state.timings().ttft),
                  {kPromptBucketNames[PromptBucket(state.prompt_tokens)], Mode(report)});
  for (size_t i = 0; i < report.stages.size(); ++i) {
    const std::string stage = absl::StrCat(i + 1);
    metrics.Observe(metric::kPrefillSeconds, report.stages[i].compute_seconds, {stage});
    // The last stage prunes nothing.
    if (!report.pruned || i + 1 == report.stages.size()) continue;
    metrics.Observe(metric::kKeptRatio,
                    static_cast<double>(report.stages[i].tokens_kept) / static_cast<double>(state.prompt_tokens),
                    {stage});
  }
  for (const std::string& reason : report.fallbacks) metrics.Add(metric::kPruningFallback, {reason});
  metrics.Add(metric::kPromptTokens, {"cached"}, static_cast<double>(state.cached_tokens));
  metrics.Add(metric::kPromptTokens, {"computed"}, static_cast<double>(state.prompt_tokens - state.cached_tokens));
}

void ReportEnd(const RequestState& state, Phase phase, const absl::Status& outcome, Metrics& metrics) {
  if (outcome.ok()) {
    metrics.Observe(metric::kEndToEnd, absl::ToDoubleSeconds(state.timings().total));
  } else if (absl::IsCancelled(outcome) || absl::IsDeadlineExceeded(outcome)) {
    metrics.Add(metric::kCancellations, {PhaseName(phase)});
  }
  LogEnd(state, outcome);
}

}  // namespace slimfill::scheduler
