// variables: chains of assignments spread through the text, one number at the head of each.
#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/eval/kinds.h"
#include "engine/eval/words.h"

namespace slimfill::eval {
namespace {

struct Wording {
  const char* first;  // "{to}" gets "{value}"
  const char* next;   // "{to}" gets what "{from}" has
};

constexpr Wording kWordings[] = {
    {"VAR {to} = {value}", "VAR {to} = VAR {from}"},
    {"The variable {to} is set to {value}.", "The variable {to} is set to the value of {from}."},
    {"let {to} = {value};", "let {to} = {from};"},
    {"Assign {value} to {to}.", "Assign the value of {from} to {to}."},
    {"Register {to} now holds {value}.", "Register {to} is copied from register {from}."},
};

std::vector<std::string> DrawVariables(size_t count, Rng& rng) {
  std::set<std::string> drawn;
  std::vector<std::string> names;
  while (names.size() < count) {
    std::string name;
    for (int i = 0; i < 5; ++i) name.push_back(static_cast<char>('A' + rng.Below(26)));
    if (drawn.insert(name).second) names.push_back(std::move(name));
  }
  return names;
}

// The assignments of one chain through `names`, at ascending depths.
void AddChain(const Wording& wording, const std::vector<std::string>& names, const std::string& value, bool asked,
              Rng& rng, std::vector<Fact>& facts) {
  const std::vector<double> depths = SpreadDepths(names.size(), rng);
  for (size_t i = 0; i < names.size(); ++i) {
    const Bindings bindings = {{"to", names[i]}, {"value", value}, {"from", i == 0 ? "" : names[i - 1]}};
    facts.push_back(Statement(Fill(i == 0 ? wording.first : wording.next, bindings), depths[i], asked, names[i]));
  }
}

}  // namespace

absl::StatusOr<Draft> DraftVariables(const Scene& scene) {
  Rng& rng = scene.rng;
  const Wording& wording = kWordings[rng.Below(std::size(kWordings))];
  const size_t length = 2 + rng.Below(3);
  const size_t chains = scene.tokens < 2048 ? 2 : 2 + rng.Below(3);
  const std::vector<std::string> names = DrawVariables(chains * length, rng);
  const std::vector<std::string> values = DrawNumbers(chains, 5, rng);
  Draft draft;
  for (size_t chain = 0; chain < chains; ++chain) {
    const auto begin = names.begin() + static_cast<std::ptrdiff_t>(chain * length);
    AddChain(wording, {begin, begin + static_cast<std::ptrdiff_t>(length)}, values[chain], chain == 0, rng,
             draft.facts);
  }
  EvalCase& eval_case = draft.eval_case;
  const std::vector<std::string> asked(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(length));
  if (rng.Chance(0.5)) {
    eval_case.question =
        absl::StrCat("The text {above} has assignments of variables in it. What is the final value of ", asked.back(),
                     "? Answer with the number only.");
    eval_case.accept = {values[0]};
    eval_case.answer = values[0];
  } else {
    eval_case.question = absl::StrCat(
        "The text {above} has assignments of variables in it. Which ", length, " variables have the value ", values[0],
        ", directly or through other variables? Answer with their names only, separated by commas.");
    eval_case.accept = asked;
    eval_case.answer = absl::StrJoin(asked, ", ");
    eval_case.all_required = true;
  }
  return draft;
}

}  // namespace slimfill::eval
