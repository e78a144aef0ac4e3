// aggregate: how often a marked item occurs in the text, or which occurs most.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/eval/kinds.h"
#include "engine/eval/words.h"

namespace slimfill::eval {
namespace {

struct Wording {
  const char* entry;  // "{item}", "{detail}"
  const char* count;
  const char* most;
  const char* form;  // of the answer to `most`
  bool people;       // items are full names, else teams
};

constexpr Wording kWordings[] = {
    {"BALLOT {detail}: one vote for {item}.", "How many ballots in the text {above} are votes for {item}?",
     "Who got the most votes on the ballots in the text {above}?", "Answer with the full name only.", true},
    {"[ALARM {detail}] station {item} reports a fault.", "How many alarms in the text {above} are from station {item}?",
     "Which station reports the most faults in the alarms of the text {above}?", "Answer with the name only.", false},
    {"Visitor entry {detail}: signed in by {item}.",
     "How many visitor entries in the text {above} were signed in by {item}?",
     "Who signed in the most visitor entries in the text {above}?", "Answer with the full name only.", true},
    {"Receipt {detail}: one crate for the {item} store.",
     "How many crates were for the {item} store, by the receipts in the text {above}?",
     "Which store got the most crates, by the receipts in the text {above}?", "Answer with the name only.", false},
};

constexpr const char* kNumberWords[] = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"};

// How often each item occurs: the first the most, by two at least.
std::vector<size_t> DrawCounts(size_t items, Rng& rng) {
  std::vector<size_t> counts = {4 + rng.Below(3)};
  for (size_t i = 1; i < items; ++i) counts.push_back(2 + rng.Below(counts[0] - 3));
  return counts;
}

}  // namespace

absl::StatusOr<Draft> DraftAggregate(const Scene& scene) {
  Rng& rng = scene.rng;
  const Wording& wording = kWordings[rng.Below(std::size(kWordings))];
  const std::vector<std::string> items = wording.people ? DrawPeople(3, rng) : rng.Sample(TeamNames(), 3);
  const std::vector<size_t> counts = DrawCounts(items.size(), rng);
  const bool ask_most = rng.Chance(0.5);
  const size_t asked = ask_most ? 0 : rng.Below(2);  // counts of the first would all be high

  std::vector<size_t> entries;  // the item of each
  for (size_t item = 0; item < items.size(); ++item) entries.insert(entries.end(), counts[item], item);
  rng.Shuffle(entries);
  const std::vector<std::string> details = DrawNumbers(entries.size(), 4, rng);
  const std::vector<double> depths = SpreadDepths(entries.size(), rng);
  Draft draft;
  for (size_t i = 0; i < entries.size(); ++i) {
    const Bindings bindings = {{"item", items[entries[i]]}, {"detail", details[i]}};
    draft.facts.push_back(
        Statement(Fill(wording.entry, bindings), depths[i], ask_most || entries[i] == asked, wording.entry));
  }
  EvalCase& eval_case = draft.eval_case;
  if (ask_most) {
    eval_case.question = absl::StrCat(wording.most, " ", wording.form);
    eval_case.answer = items[0];
    eval_case.accept = {items[0]};
  } else {
    eval_case.question = absl::StrCat(Fill(wording.count, {{"item", items[asked]}}), " Answer with the number only.");
    eval_case.answer = absl::StrCat(counts[asked]);
    eval_case.accept = {eval_case.answer, kNumberWords[counts[asked]]};
  }
  return draft;
}

}  // namespace slimfill::eval
