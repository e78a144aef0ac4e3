// What is said about a request: its metrics and its one log line.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/metrics.h"
#include "scheduler/request_state.h"

namespace slimfill::scheduler {

// At the first token; the sequence is alive.
void ReportFirstToken(const RequestState& state, Metrics& metrics);

// At the end, the reports and times being filled in; `phase` is the one it ended in.
void ReportEnd(const RequestState& state, Phase phase, const absl::Status& outcome, Metrics& metrics);

}  // namespace slimfill::scheduler
