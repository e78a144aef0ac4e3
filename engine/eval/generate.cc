#include "engine/eval/generate.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/eval/draft_document.h"
#include "engine/eval/kinds.h"
#include "engine/eval/rng.h"
#include "engine/eval/shared_document.h"

namespace slimfill::eval {
namespace {

constexpr int64_t kMinTokens = 512;
constexpr int kAttempts = 40;

absl::Status CheckArguments(absl::string_view kind, int64_t tokens) {
  if (FindKind(kind) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("no kind of task ", kind, ": there are ", absl::StrJoin(TaskKinds(), ", ")));
  }
  if (tokens < kMinTokens) {
    return absl::InvalidArgumentError(absl::StrCat(kind, " of ", tokens, " tokens: the least is ", kMinTokens));
  }
  return absl::OkStatus();
}

EvalCase Finished(EvalCase eval_case, const Question& question, int64_t tokens, bool question_first) {
  eval_case.kind = question.kind;
  eval_case.seed = question.seed;
  eval_case.target_tokens = tokens;
  eval_case.question_first = question_first;
  eval_case.question = Fill(eval_case.question, {{"above", question_first ? "below" : "above"}});
  return eval_case;
}

}  // namespace

const std::vector<std::string>& TaskKinds() {
  static const auto* kinds = [] {
    auto* names = new std::vector<std::string>;
    for (const Kind& kind : Kinds()) names->push_back(kind.name);
    return names;
  }();
  return *kinds;
}

absl::StatusOr<EvalCase> MakeCase(const Corpus& corpus, const engine::Tokenizer& tokenizer, absl::string_view kind_name,
                                  int64_t tokens, uint64_t seed, bool question_first) {
  if (absl::Status status = CheckArguments(kind_name, tokens); !status.ok()) return status;
  const Kind& kind = *FindKind(kind_name);
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Rng rng(HashText(absl::StrCat(kind_name, "/", tokens, "/", seed, "/", attempt)));
    absl::StatusOr<Draft> draft = kind.draft({corpus, tokenizer, tokens, tokens, seed, rng});
    absl::Status status = draft.status();
    if (status.ok() && !draft->has_document()) {
      status = ComposeDrafts(corpus, tokenizer, draft->filler, tokens, rng, absl::MakeSpan(&*draft, 1));
    }
    if (absl::IsAborted(status)) continue;
    if (!status.ok()) return status;
    if (!IsClear(*draft, kind.unique_answer)) continue;
    return Finished(std::move(draft->eval_case), {std::string(kind_name), seed}, tokens, question_first);
  }
  return absl::InternalError(absl::StrCat("no unambiguous ", kind_name, " of ", tokens, " tokens with seed ", seed));
}

absl::StatusOr<std::vector<EvalCase>> MakeCases(const Corpus& corpus, const engine::Tokenizer& tokenizer,
                                                const DocumentSpec& document, bool question_first) {
  std::vector<EvalCase> cases;
  if (!document.is_shared()) {
    const auto& [kind, seed] = document.questions.front();
    absl::StatusOr<EvalCase> made = MakeCase(corpus, tokenizer, kind, document.tokens, seed, question_first);
    if (!made.ok()) return made.status();
    cases.push_back(*std::move(made));
    return cases;
  }
  for (const Question& question : document.questions) {
    if (absl::Status status = CheckArguments(question.kind, document.tokens); !status.ok()) return status;
  }
  absl::StatusOr<std::vector<Draft>> drafts = DraftSharedDocument(corpus, tokenizer, document);
  if (!drafts.ok()) return drafts.status();
  for (size_t i = 0; i < drafts->size(); ++i) {
    cases.push_back(
        Finished(std::move((*drafts)[i].eval_case), document.questions[i], document.tokens, question_first));
  }
  return cases;
}

}  // namespace slimfill::eval
