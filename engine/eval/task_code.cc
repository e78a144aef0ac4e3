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

absl::StatusOr<Draft> DraftPlanted(const Scene& scene) {
  Rng& rng = scene.rng;
  const Planted& planted = kPlanted[rng.Below(std::size(kPlanted))];
  const std::string name = absl::StrCat(rng.Pick(Adjectives()), "_", rng.Pick(Nouns()));
  const std::string value = planted.code_word ? DrawCodeWords(1, rng)[0] : DrawNumbers(1, 5, rng)[0];
  const Bindings bindings = {{"name", name}, {"NAME", absl::AsciiStrToUpper(name)}};
  const std::string subject = Fill(planted.code, bindings);
  Draft draft{.filler = Filler::kCode};
  EvalCase& eval_case = draft.eval_case;
  eval_case.question = absl::StrCat(Fill(planted.question, bindings), " Answer with the value only.");
  eval_case.answer = value;
  eval_case.accept = {value};
  draft.facts = {Statement(Fill(subject, {{"value", value}}), rng.Unit(), true, subject)};
  return draft;
}

// Part of a module with something that can be asked about it.
struct Asked {
  std::string code;
  CodeFact fact;
};

// Long modules more often than short ones: they have more to ask about.
const SourceText& PickModule(const std::vector<SourceText>& modules, Rng& rng) {
  uint64_t bytes = 0;
  for (const SourceText& module : modules) bytes += module.text.size();
  uint64_t at = rng.Below(bytes);
  for (const SourceText& module : modules) {
    if (at < module.text.size()) return module;
    at -= module.text.size();
  }
  return modules.back();
}

absl::StatusOr<Asked> PickFact(const Scene& scene) {
  constexpr int kDraws = 200;  // most parts have something
  for (int draw = 0; draw < kDraws; ++draw) {
    const SourceText& module = PickModule(scene.corpus.code(), scene.rng);
    const size_t middle = scene.rng.Below(module.text.size());
    const auto range = Excerpt(scene.tokenizer, module.text, {middle, middle + 1}, scene.room / 2, scene.rng);
    if (!range.ok()) return range.status();
    std::string code =
        absl::StrCat(kFileMark, module.name, "\n", module.text.substr(range->first, range->second - range->first));
    const std::vector<CodeFact> facts = FindCodeFacts(code);
    if (!facts.empty()) return Asked{std::move(code), scene.rng.Pick(facts)};
  }
  return absl::AbortedError("no module with something to ask about found");
}

// A part of a real module between others, with a question about what it says itself.
absl::StatusOr<Draft> DraftReal(const Scene& scene) {
  const auto asked = PickFact(scene);
  if (!asked.ok()) return asked.status();
  const CodeFact& fact = asked->fact;
  Draft draft{.filler = Filler::kCode, .once = fact.definition};
  EvalCase& eval_case = draft.eval_case;
  eval_case.question = fact.question;
  eval_case.answer = fact.value;
  eval_case.accept = {fact.value};
  draft.facts = {{asked->code, scene.rng.Unit(), fact.evidence, /*is_module=*/true, /*subject=*/""}};
  return draft;
}

}  // namespace

absl::StatusOr<Draft> DraftCode(const Scene& scene) {
  return scene.rng.Chance(0.4) ? DraftPlanted(scene) : DraftReal(scene);
}

}  // namespace slimfill::eval
