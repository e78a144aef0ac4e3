// code: real Python modules; asked for is something that stands in one function, constant or comment.
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/eval/code_facts.h"
#include "engine/eval/kinds.h"
#include "engine/eval/words.h"

namespace slimfill::eval {
namespace {

struct Planted {
  const char* code;      // "{name}" and "{NAME}" of one thing; "{value}"
  const char* question;  // the same, but the value
  bool code_word;        // the value is one, else a number
};

constexpr Planted kPlanted[] = {
    {"{NAME}_TIMEOUT_MS = {value}", "In the code {above}, which value is {NAME}_TIMEOUT_MS set to?", false},
    {"{NAME}_LABEL = \"{value}\"", "In the code {above}, which string is {NAME}_LABEL set to?", true},
    {"# NOTE: the retry budget of the {name} is {value} attempts.",
     "By a comment in the code {above}, what is the retry budget of the {name}?", false},
    {"# TODO(ops): rename the {name} cache to {value} in the next release.",
     "By a comment in the code {above}, what is the {name} cache to be renamed to?", true},
    {"def open_{name}(path, window={value}):\n    handle = open(path, \"rb\")\n    return handle.read(window)",
     "In the code {above}, what is the default value of the parameter window of the function open_{name}?", false},
    {"def {name}_tag(record):\n    \"\"\"Tag under which a record is filed.\"\"\"\n    return \"{value}\"",
     "In the code {above}, which string does the function {name}_tag return?", true},
    {"def {name}_limit(load):\n    if load < 0:\n        raise ValueError(\"load\")\n    return load + {value}",
     "In the code {above}, which number does the function {name}_limit add to load?", false},
    {"{NAME}_PORTS = {\n    \"primary\": {value},\n}",
     "In the code {above}, what is the primary entry of {NAME}_PORTS?", false},
};

constexpr char kForm[] = " Answer with the value only.";

absl::StatusOr<EvalCase> MakePlanted(const Scene& scene) {
  Rng& rng = scene.rng;
  const Planted& planted = kPlanted[rng.Below(std::size(kPlanted))];
  const std::string name = absl::StrCat(rng.Pick(Adjectives()), "_", rng.Pick(Nouns()));
  const std::string value = planted.code_word ? DrawCodeWords(1, rng)[0] : DrawNumbers(1, 5, rng)[0];
  const Bindings bindings = {{"name", name}, {"NAME", absl::AsciiStrToUpper(name)}, {"value", value}};
  EvalCase eval_case;
  eval_case.question = absl::StrCat(Fill(planted.question, bindings), kForm);
  eval_case.answer = value;
  eval_case.accept = {value};
  const absl::Status status =
      PlantFacts(scene, {{Fill(planted.code, bindings), rng.Unit(), true}}, Filler::kCode, eval_case);
  if (!status.ok()) return status;
  return eval_case;
}

}  // namespace

absl::StatusOr<EvalCase> MakeCode(const Scene& scene) {
  if (scene.rng.Chance(0.3)) return MakePlanted(scene);
  EvalCase eval_case;
  const absl::Status composed = PlantFacts(scene, {}, Filler::kCode, eval_case);
  if (!composed.ok()) return composed;
  const std::vector<CodeFact> facts = FindCodeFacts(eval_case.document);
  if (facts.empty()) return MakePlanted(scene);  // short documents often have nothing to ask for
  const CodeFact& fact = scene.rng.Pick(facts);
  eval_case.question = absl::StrCat(fact.question, kForm);
  eval_case.answer = fact.value;
  eval_case.accept = {fact.value};
  eval_case.evidence = fact.evidence;
  return eval_case;
}

}  // namespace slimfill::eval
