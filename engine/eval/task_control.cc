// summary_control, continuation: nothing is looked up, so pruning has nothing to gain and should notice.
#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/eval/kinds.h"
#include "engine/eval/source_text.h"

namespace slimfill::eval {
namespace {

constexpr int64_t kAnswerTokens = 128;
constexpr int64_t kMinFillerTokens = 64;  // room to meet the length
constexpr size_t kAnswerBytes = 1200;     // enough for them

// A text cut in two behind a word; the end has kAnswerBytes or more.
struct Cut {
  std::string before, after;
};

// One text, cut anywhere.
Cut CutSource(const std::vector<SourceText>& sources, Rng& rng) {
  const SourceText* source = &rng.Pick(sources);
  while (source->text.size() < 2 * kAnswerBytes) source = &rng.Pick(sources);
  const absl::string_view text = source->text;
  const size_t last = text.size() - kAnswerBytes;
  const size_t at = kAnswerBytes / 2 + rng.Below(last - kAnswerBytes / 2);
  const size_t end = std::min(text.find_first_of(" \n", at), last);
  return {std::string(text.substr(0, end)), std::string(text.substr(end))};
}

// The last lines of `text`, at most `tokens` tokens.
absl::StatusOr<std::string> LastLines(const engine::Tokenizer& tokenizer, absl::string_view text, int64_t tokens) {
  const auto ends = tokenizer.EncodeWithOffsets(text, /*parse_special=*/false);
  if (!ends.ok()) return ends.status();
  const auto count = static_cast<int64_t>(ends->size());
  if (count <= tokens) return std::string(text);
  const size_t line_end = text.find('\n', (*ends)[count - tokens].end);
  return std::string(text.substr(line_end == absl::string_view::npos ? text.size() : line_end + 1));
}

}  // namespace

absl::StatusOr<Draft> DraftSummaryControl(const Scene& scene) {
  static const auto* questions = new std::vector<std::string>{
      "Summarise the text {above} in about one hundred words.",
      "Write a short summary of everything in the text {above}.",
      "What is the text {above} about? Give an overview of all its parts in one paragraph.",
      "List the main points of the text {above}, from its beginning to its end.",
  };
  Draft draft;
  draft.eval_case.question = scene.rng.Pick(*questions);
  draft.filler = scene.rng.Chance(0.25) ? Filler::kCode : Filler::kProse;
  return draft;
}

absl::StatusOr<Draft> DraftContinuation(const Scene& scene) {
  const Filler filler = scene.rng.Chance(1.0 / 3) ? Filler::kCode : Filler::kProse;
  const auto& sources = filler == Filler::kCode ? scene.corpus.code() : scene.corpus.prose();
  const Cut cut = CutSource(sources, scene.rng);
  const auto before = LastLines(scene.tokenizer, cut.before, scene.tokens - kMinFillerTokens);
  if (!before.ok()) return before.status();
  Draft draft{.filler = filler};
  draft.eval_case.question = "Continue the text {above} exactly where it stops.";
  draft.facts = {Statement(*before, 1.0, /*is_evidence=*/false, /*subject=*/"")};
  const absl::string_view rest = absl::StripLeadingAsciiWhitespace(cut.after);
  const auto ends = scene.tokenizer.EncodeWithOffsets(rest, /*parse_special=*/false);
  if (!ends.ok()) return ends.status();
  const size_t tokens = std::min<size_t>(kAnswerTokens, ends->size());
  // A token may end inside a character; the answer may not.
  size_t end = (*ends)[tokens - 1].end;
  while (end > 0 && end < rest.size() && (static_cast<unsigned char>(rest[end]) & 0xC0) == 0x80) --end;
  draft.eval_case.answer = std::string(rest.substr(0, end));
  return draft;
}

}  // namespace slimfill::eval
