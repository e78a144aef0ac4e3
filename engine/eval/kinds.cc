#include "engine/eval/kinds.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace slimfill::eval {

const std::vector<Kind>& Kinds() {
  static const auto* kinds = new std::vector<Kind>{
      {"needle", DraftNeedle, Ground::kProse, true, false},
      {"multikey", DraftMultiKey, Ground::kProse, true, false},
      {"multivalue", DraftMultiValue, Ground::kProse, true, false},
      {"variables", DraftVariables, Ground::kProse, true, false},
      {"keyvalue", DraftKeyValue, Ground::kTable, true, false},
      {"code", DraftCode, Ground::kCode, true, false},
      {"multihop", DraftMultiHop, Ground::kProse, true, false},
      {"aggregate", DraftAggregate, Ground::kProse, false, true},
      {"realqa", DraftRealQa, Ground::kProse, false, true},
      {"summary_control", DraftSummaryControl, Ground::kProse, false, true},
      {"continuation", DraftContinuation, Ground::kOwn, false, true},
  };
  return *kinds;
}

const Kind* FindKind(absl::string_view name) {
  const auto kind = std::find_if(Kinds().begin(), Kinds().end(), [name](const Kind& k) { return name == k.name; });
  return kind == Kinds().end() ? nullptr : &*kind;
}

Fact Statement(std::string text, double depth, bool is_evidence, std::string subject) {
  Fact fact{.text = std::move(text), .depth = depth, .subject = std::move(subject)};
  if (is_evidence) fact.evidence.emplace_back(0, fact.text.size());
  return fact;
}

std::string Fill(absl::string_view text, const Bindings& bindings) {
  std::vector<std::pair<std::string, std::string>> replacements;
  for (const auto& [key, value] : bindings) replacements.emplace_back(absl::StrCat("{", key, "}"), value);
  return absl::StrReplaceAll(text, replacements);
}

}  // namespace slimfill::eval
