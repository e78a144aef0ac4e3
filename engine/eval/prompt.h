// A case as the chat that asks it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "engine/eval/task.h"

namespace slimfill::eval {

struct CasePrompt {
  engine::RenderedChat chat;
  std::vector<int32_t> evidence_blocks;  // of the prompt, ascending
};

// One user message: document and question, in the case's order, a blank line between them. FAILED_PRECONDITION for a
// model without a chat template.
absl::StatusOr<CasePrompt> RenderCase(const engine::Engine& engine, const EvalCase& test_case);

}  // namespace slimfill::eval
