#include "engine/eval/workload.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/eval/kinds.h"
#include "engine/eval/rng.h"

namespace slimfill::eval {
namespace {

bool MayJoin(const DocumentSpec& document, const Kind& kind, int shared) {
  const auto& questions = document.questions;
  if (static_cast<int>(questions.size()) >= shared) return false;
  return !kind.once_a_document || std::none_of(questions.begin(), questions.end(),
                                               [&](const Question& question) { return question.kind == kind.name; });
}

// The documents of one length.
class Planner {
 public:
  Planner(int64_t tokens, int shared) : tokens_(tokens), shared_(shared) {}

  void Add(Question question) {
    const Kind* kind = FindKind(question.kind);
    if (kind != nullptr && kind->ground != Ground::kOwn) {
      const auto open = open_.find(kind->ground);
      if (open != open_.end() && MayJoin(documents_[open->second], *kind, shared_)) {
        documents_[open->second].questions.push_back(std::move(question));
        return;
      }
      open_[kind->ground] = documents_.size();
    }
    documents_.push_back({tokens_, {std::move(question)}});
  }

  std::vector<DocumentSpec> Take() { return std::move(documents_); }

 private:
  const int64_t tokens_;
  const int shared_;
  std::map<Ground, size_t> open_;
  std::vector<DocumentSpec> documents_;
};

}  // namespace

std::string DocumentName(const DocumentSpec& document) {
  const Question& first = document.questions.front();
  if (!document.is_shared()) return absl::StrCat(first.kind, "/", document.tokens, "/", first.seed);
  uint64_t hash = HashText("");
  for (const Question& question : document.questions) {
    hash = HashText(absl::StrCat(question.kind, "/", question.seed, " "), hash);
  }
  return absl::StrFormat("shared/%d/%d/%08x", document.tokens, first.seed, hash >> 32);
}

std::string CaseName(const DocumentSpec& document, const Question& question) {
  const std::string name = DocumentName(document);
  return document.is_shared() ? absl::StrCat(name, "/", question.kind, "/", question.seed) : name;
}

std::vector<DocumentSpec> PlanDocuments(const Workload& workload) {
  std::vector<DocumentSpec> all;
  for (const int64_t tokens : workload.lengths) {
    Planner planner(tokens, workload.shared);
    for (int i = 0; i < workload.cases; ++i) {
      for (const std::string& kind : workload.kinds) planner.Add({kind, workload.seed + i});
    }
    for (DocumentSpec& document : planner.Take()) all.push_back(std::move(document));
  }
  return all;
}

}  // namespace slimfill::eval
