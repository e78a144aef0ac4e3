#include "engine/eval/prompt.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/ops/backend.h"

namespace slimfill::eval {
namespace {

// Blocks of the tokens whose bytes overlap the evidence.
std::vector<int32_t> EvidenceBlocks(const engine::Tokenizer& tokenizer, const engine::RenderedChat& chat,
                                    const EvalCase& test_case, size_t document_begin) {
  std::vector<int32_t> blocks;
  const auto [first, end] = chat.content_ranges.back();
  size_t byte = 0;
  for (int64_t token = first; token < end; ++token) {
    const size_t next = byte + tokenizer.TokenBytes(chat.tokens[token]).size();
    for (const auto& [begin, stop] : test_case.evidence) {
      if (byte < document_begin + stop && next > document_begin + begin) {
        blocks.push_back(static_cast<int32_t>(token / engine::kBlockTokens));
        break;
      }
    }
    byte = next;
  }
  blocks.erase(std::unique(blocks.begin(), blocks.end()), blocks.end());
  return blocks;
}

}  // namespace

absl::StatusOr<CasePrompt> RenderCase(const engine::Engine& engine, const EvalCase& test_case) {
  if (engine.chat_template() == nullptr) {
    return absl::FailedPreconditionError("the model has no chat template: the evaluation asks as a chat");
  }
  const std::string& first = test_case.question_first ? test_case.question : test_case.document;
  const std::string& second = test_case.question_first ? test_case.document : test_case.question;
  CasePrompt prompt;
  SLIMFILL_ASSIGN_OR_RETURN(prompt.chat,
                            engine.chat_template()->Render({{{"user", absl::StrCat(first, "\n\n", second)}}}));
  prompt.evidence_blocks =
      EvidenceBlocks(engine.tokenizer(), prompt.chat, test_case, test_case.question_first ? first.size() + 2 : 0);
  return prompt;
}

}  // namespace slimfill::eval
