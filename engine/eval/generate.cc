#include "engine/eval/generate.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/eval/kinds.h"
#include "engine/eval/rng.h"

namespace slimfill::eval {
namespace {

constexpr int64_t kMinTokens = 512;
constexpr int kAttempts = 40;

struct Kind {
  const char* name;
  Generator make;
  // Whether what is accepted must stand nowhere else. Not for counts, for real texts, and where nothing is accepted.
  bool unique_answer;
};

constexpr Kind kKinds[] = {
    {"needle", MakeNeedle, true},
    {"multikey", MakeMultiKey, true},
    {"multivalue", MakeMultiValue, true},
    {"variables", MakeVariables, true},
    {"keyvalue", MakeKeyValue, true},
    {"code", MakeCode, true},
    {"multihop", MakeMultiHop, true},
    {"aggregate", MakeAggregate, false},
    {"realqa", MakeRealQa, false},
    {"summary_control", MakeSummaryControl, false},
    {"continuation", MakeContinuation, false},
};

std::string WithoutEvidence(const EvalCase& eval_case) {
  std::string rest;
  size_t at = 0;
  for (const auto& [begin, end] : eval_case.evidence) {
    absl::StrAppend(&rest, eval_case.document.substr(at, begin - at), "\n");
    at = end;
  }
  return absl::StrCat(rest, eval_case.document.substr(at));
}

// Whether the answer stands in the evidence only, and not in the question.
bool IsUnambiguous(const EvalCase& eval_case) {
  const std::string rest = NormaliseText(WithoutEvidence(eval_case));
  const std::string question = NormaliseText(eval_case.question);
  return std::none_of(eval_case.accept.begin(), eval_case.accept.end(), [&](const std::string& accept) {
    const std::string words = NormaliseText(accept);
    return ContainsWords(rest, words) || ContainsWords(question, words);
  });
}

const Kind* FindKind(absl::string_view name) {
  const auto* kind =
      std::find_if(std::begin(kKinds), std::end(kKinds), [name](const Kind& k) { return name == k.name; });
  return kind == std::end(kKinds) ? nullptr : kind;
}

}  // namespace

const std::vector<std::string>& TaskKinds() {
  static const auto* kinds = [] {
    auto* names = new std::vector<std::string>;
    for (const Kind& kind : kKinds) names->push_back(kind.name);
    return names;
  }();
  return *kinds;
}

absl::StatusOr<EvalCase> MakeCase(const Corpus& corpus, const engine::Tokenizer& tokenizer, absl::string_view kind_name,
                                  int64_t tokens, uint64_t seed, bool question_first) {
  const Kind* kind = FindKind(kind_name);
  if (kind == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("no kind of task ", kind_name, ": there are ", absl::StrJoin(TaskKinds(), ", ")));
  }
  if (tokens < kMinTokens) {
    return absl::InvalidArgumentError(absl::StrCat(kind_name, " of ", tokens, " tokens: the least is ", kMinTokens));
  }
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    Rng rng(HashText(absl::StrCat(kind_name, "/", tokens, "/", seed, "/", attempt)));
    absl::StatusOr<EvalCase> made = kind->make({corpus, tokenizer, tokens, seed, rng});
    if (absl::IsAborted(made.status())) continue;
    if (!made.ok()) return made;
    made->kind = kind->name;
    made->seed = seed;
    made->target_tokens = tokens;
    made->question_first = question_first;
    made->question = Fill(made->question, {{"above", question_first ? "below" : "above"}});
    if (!kind->unique_answer || IsUnambiguous(*made)) return made;
  }
  return absl::InternalError(absl::StrCat("no unambiguous ", kind_name, " of ", tokens, " tokens with seed ", seed));
}

}  // namespace slimfill::eval
