#include "engine/eval/draft_document.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace slimfill::eval {
namespace {

std::string WithoutEvidence(const EvalCase& eval_case) {
  std::string rest;
  size_t at = 0;
  for (const auto& [begin, end] : eval_case.evidence) {
    absl::StrAppend(&rest, eval_case.document.substr(at, begin - at), "\n");
    at = end;
  }
  return absl::StrCat(rest, eval_case.document.substr(at));
}

bool IsUnambiguous(const EvalCase& eval_case) {
  const std::string rest = NormaliseText(WithoutEvidence(eval_case));
  const std::string question = NormaliseText(eval_case.question);
  return std::none_of(eval_case.accept.begin(), eval_case.accept.end(), [&](const std::string& accept) {
    const std::string words = NormaliseText(accept);
    return ContainsWords(rest, words) || ContainsWords(question, words);
  });
}

bool StandsOnce(absl::string_view text, absl::string_view wanted) {
  const size_t at = text.find(wanted);
  return at != absl::string_view::npos && text.find(wanted, at + 1) == absl::string_view::npos;
}

}  // namespace

absl::Status ComposeDrafts(const Corpus& corpus, const engine::Tokenizer& tokenizer, Filler filler, int64_t tokens,
                           Rng& rng, absl::Span<Draft> drafts) {
  std::vector<Passage> passages;
  for (const Draft& draft : drafts) {
    for (const Fact& fact : draft.facts) passages.push_back({fact.text, fact.depth, fact.is_module});
  }
  const absl::StatusOr<Document> document = ComposeDocument(corpus, tokenizer, passages, filler, tokens, rng);
  if (!document.ok()) return document.status();
  auto passage = document->passages.begin();
  for (Draft& draft : drafts) {
    draft.eval_case.document = document->text;
    std::vector<ByteRange>& evidence = draft.eval_case.evidence;
    evidence.clear();
    for (const Fact& fact : draft.facts) {
      const ByteRange& placed = *passage++;
      for (const ByteRange& range : fact.evidence) {
        // A whole passage may have been indented; of parts of one only modules have any, which are not.
        const bool whole = range == ByteRange(0, fact.text.size());
        evidence.push_back(whole ? placed : ByteRange(placed.first + range.first, placed.first + range.second));
      }
    }
    std::sort(evidence.begin(), evidence.end());
  }
  return absl::OkStatus();
}

bool IsClear(const Draft& draft, bool unique_answer) {
  if (!draft.once.empty() && !StandsOnce(draft.eval_case.document, draft.once)) return false;
  return !unique_answer || IsUnambiguous(draft.eval_case);
}

}  // namespace slimfill::eval
