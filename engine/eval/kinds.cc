#include "engine/eval/kinds.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace slimfill::eval {

absl::Status PlantFacts(const Scene& scene, const std::vector<Fact>& facts, Filler filler, EvalCase& eval_case) {
  std::vector<Passage> passages;
  for (const Fact& fact : facts) passages.push_back({fact.text, fact.depth, fact.is_module});
  absl::StatusOr<Document> document =
      ComposeDocument(scene.corpus, scene.tokenizer, passages, filler, scene.tokens, scene.rng);
  if (!document.ok()) return document.status();
  eval_case.document = std::move(document->text);
  eval_case.evidence.clear();
  for (size_t i = 0; i < facts.size(); ++i) {
    if (facts[i].is_evidence) eval_case.evidence.push_back(document->passages[i]);
  }
  std::sort(eval_case.evidence.begin(), eval_case.evidence.end());
  return absl::OkStatus();
}

std::string Fill(absl::string_view text, const Bindings& bindings) {
  std::vector<std::pair<std::string, std::string>> replacements;
  for (const auto& [key, value] : bindings) replacements.emplace_back(absl::StrCat("{", key, "}"), value);
  return absl::StrReplaceAll(text, replacements);
}

}  // namespace slimfill::eval
