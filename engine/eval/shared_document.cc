#include "engine/eval/shared_document.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/eval/draft_document.h"

namespace slimfill::eval {
namespace {

constexpr int kAttempts = 100;  // of all questions of a document together

// Whether a fact of one draft and a fact of the other say something of the same subject.
bool Contradict(const Draft& a, const Draft& b) {
  std::set<std::string> subjects;
  for (const Fact& fact : a.facts) subjects.insert(fact.subject);
  subjects.erase("");
  return std::any_of(b.facts.begin(), b.facts.end(), [&](const Fact& fact) { return subjects.contains(fact.subject); });
}

class Builder {
 public:
  Builder(const Corpus& corpus, const engine::Tokenizer& tokenizer, const DocumentSpec& spec)
      : corpus_(corpus),
        tokenizer_(tokenizer),
        spec_(spec),
        ground_(FindKind(spec.questions.front().kind)->ground),
        name_(DocumentName(spec)),
        drawn_(spec.questions.size()),
        drafts_(spec.questions.size()) {}

  absl::StatusOr<std::vector<Draft>> Build() {
    if (absl::Status status = CheckKinds(); !status.ok()) return status;
    if (ground_ == Ground::kTable) return BuildTable();
    std::set<size_t> missing;
    for (size_t i = 0; i < drafts_.size(); ++i) missing.insert(i);
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      for (const size_t i : missing) {
        if (absl::Status status = Draw(i); !status.ok()) return status;
      }
      if (absl::Status status = Compose(); !status.ok()) return status;
      missing = Unclear();
      if (missing.empty()) return std::move(drafts_);
    }
    return NotFound();
  }

 private:
  absl::Status CheckKinds() const {
    std::set<std::string> seen;
    for (const auto& [name, seed] : spec_.questions) {
      const Kind& kind = *FindKind(name);
      const bool again = !seen.insert(name).second && kind.once_a_document;
      if (kind.ground == ground_ && kind.ground != Ground::kOwn && !again) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("a question of kind ", name, " cannot share the document of ", name_));
    }
    return absl::OkStatus();
  }

  absl::Status NotFound() const {
    return absl::InternalError(absl::StrCat("no document found in which the questions of ", name_, " are clear"));
  }

  Rng NextRng(absl::string_view what, int& drawn) const {
    return Rng(HashText(absl::StrCat(name_, "/", what, "/", drawn++)));
  }

  absl::StatusOr<std::vector<Draft>> BuildTable() {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      Rng rng = NextRng("table", composed_);
      const Scene scene = {corpus_, tokenizer_, spec_.tokens, spec_.tokens, spec_.questions.front().seed, rng};
      absl::StatusOr<std::vector<Draft>> drafts = DraftKeyValues(scene, spec_.questions.size());
      if (!drafts.ok()) return drafts;
      if (std::all_of(drafts->begin(), drafts->end(), [](const Draft& draft) { return IsClear(draft, true); })) {
        return drafts;
      }
    }
    return NotFound();
  }

  // A draft for question `i` that says nothing of what the others speak of.
  absl::Status Draw(size_t i) {
    const auto& [kind, seed] = spec_.questions[i];
    // Passages as long as the document allows: half of prose, each question's share of code.
    const int64_t parts = ground_ == Ground::kCode ? static_cast<int64_t>(drafts_.size()) : 2;
    while (drawn_[i] < kAttempts) {
      Rng rng = NextRng(absl::StrCat(i), drawn_[i]);
      absl::StatusOr<Draft> draft =
          FindKind(kind)->draft({corpus_, tokenizer_, spec_.tokens, spec_.tokens / parts, seed, rng});
      if (absl::IsAborted(draft.status())) continue;
      if (!draft.ok()) return draft.status();
      drafts_[i] = {};
      if (std::any_of(drafts_.begin(), drafts_.end(), [&](const Draft& other) { return Contradict(*draft, other); })) {
        continue;
      }
      drafts_[i] = *std::move(draft);
      return absl::OkStatus();
    }
    return NotFound();
  }

  // The same filler as long as it can be fitted to the length, so that what was clear mostly stays so.
  absl::Status Compose() {
    absl::Status status = absl::AbortedError("not composed yet");
    for (const int before = composed_; absl::IsAborted(status) && composed_ < before + kAttempts;) {
      Rng rng = NextRng("filler", composed_);
      status = ComposeDrafts(corpus_, tokenizer_, SharedFiller(), spec_.tokens, rng, absl::MakeSpan(drafts_));
    }
    --composed_;
    return status;
  }

  Filler SharedFiller() const {
    if (ground_ == Ground::kCode) return Filler::kCode;
    const bool documentation = std::any_of(drafts_.begin(), drafts_.end(),
                                           [](const Draft& draft) { return draft.filler == Filler::kDocumentation; });
    return documentation ? Filler::kDocumentation : Filler::kProse;
  }

  std::set<size_t> Unclear() const {
    std::set<size_t> unclear;
    for (size_t i = 0; i < drafts_.size(); ++i) {
      if (!IsClear(drafts_[i], FindKind(spec_.questions[i].kind)->unique_answer)) unclear.insert(i);
    }
    return unclear;
  }

  const Corpus& corpus_;
  const engine::Tokenizer& tokenizer_;
  const DocumentSpec& spec_;
  const Ground ground_;
  const std::string name_;
  std::vector<int> drawn_;  // how often each question was drawn
  int composed_ = 0;        // how many fillers did not fit
  std::vector<Draft> drafts_;
};

}  // namespace

absl::StatusOr<std::vector<Draft>> DraftSharedDocument(const Corpus& corpus, const engine::Tokenizer& tokenizer,
                                                       const DocumentSpec& document) {
  return Builder(corpus, tokenizer, document).Build();
}

}  // namespace slimfill::eval
