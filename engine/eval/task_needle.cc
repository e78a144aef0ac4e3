// needle, multikey, multivalue: facts of one sentence between paragraphs of real prose.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/eval/kinds.h"
#include "engine/eval/words.h"

namespace slimfill::eval {
namespace {

enum class Value { kNumber, kCodeWord, kPerson, kDate, kCity };

struct Template {
  Value value;
  const char* statement;  // "{thing}" and "{value}"
  const char* question;   // "{thing}"
};

constexpr Template kTemplates[] = {
    {Value::kNumber, "The access code of the {thing} is {value}.", "What is the access code of the {thing}?"},
    {Value::kNumber, "Note: the {thing} is registered under licence number {value}.",
     "Under which licence number is the {thing} registered?"},
    {Value::kNumber, "According to the last survey, the {thing} covers {value} square metres.",
     "How many square metres does the {thing} cover?"},
    {Value::kNumber, "Repairing the roof of the {thing} cost {value} crowns in the end.",
     "How many crowns did repairing the roof of the {thing} cost?"},
    {Value::kNumber, "Last season exactly {value} visitors came to see the {thing}.",
     "How many visitors came to see the {thing} last season?"},
    {Value::kNumber, "For emergencies at the {thing}, dial extension {value}.",
     "Which extension should be dialled for emergencies at the {thing}?"},
    {Value::kCodeWord, "The password for the {thing} was changed to {value} this morning.",
     "What was the password for the {thing} changed to?"},
    {Value::kCodeWord, "Deliveries to the {thing} must carry the reference {value}.",
     "Which reference must deliveries to the {thing} carry?"},
    {Value::kCodeWord, "Remember that the secret word of the {thing} is {value}.",
     "What is the secret word of the {thing}?"},
    {Value::kPerson, "The keeper of the {thing} is called {value}.", "What is the name of the keeper of the {thing}?"},
    {Value::kPerson, "It was {value} who designed the {thing}.", "Who designed the {thing}?"},
    {Value::kPerson, "{value} was the first to inspect the {thing} after the flood.",
     "Who was the first to inspect the {thing} after the flood?"},
    {Value::kPerson, "The key to the {thing} was handed over to {value}.",
     "To whom was the key to the {thing} handed over?"},
    {Value::kDate, "The {thing} was first opened to the public on {value}.",
     "When was the {thing} first opened to the public?"},
    {Value::kDate, "The foundation stone of the {thing} was laid on {value}.",
     "When was the foundation stone of the {thing} laid?"},
    {Value::kDate, "The deed of the {thing} was signed on {value}.",
     "On which date was the deed of the {thing} signed?"},
    {Value::kCity, "All spare parts for the {thing} are shipped from {value}.",
     "From which city are spare parts for the {thing} shipped?"},
    {Value::kCity, "The bell of the {thing} was cast in {value}.", "In which city was the bell of the {thing} cast?"},
    {Value::kCity, "The company that owns the {thing} moved its head office to {value}.",
     "To which city did the company that owns the {thing} move its head office?"},
};

const char* Form(Value value) {
  switch (value) {
    case Value::kNumber:
      return "Answer with the number only.";
    case Value::kCodeWord:
      return "Answer with the word and its number only.";
    case Value::kPerson:
      return "Answer with the full name only.";
    case Value::kDate:
      return "Answer with the full date only.";
    case Value::kCity:
      return "Answer with the name of the city only.";
  }
  return "";
}

struct DrawnValue {
  std::string text;
  std::vector<std::string> accept;
};

std::vector<DrawnValue> DrawValues(Value value, size_t count, Rng& rng) {
  std::vector<DrawnValue> values;
  if (value == Value::kDate) {
    for (size_t i = 0; i < count; ++i) {
      Date date = DrawDate(rng);
      values.push_back({date.text, date.spellings});
    }
    return values;
  }
  const std::vector<std::string> texts = value == Value::kNumber     ? DrawNumbers(count, 5, rng)
                                         : value == Value::kCodeWord ? DrawCodeWords(count, rng)
                                         : value == Value::kPerson   ? DrawPeople(count, rng)
                                                                     : rng.Sample(Cities(), count);
  for (const std::string& text : texts) values.push_back({text, {text}});
  // A model may write a code word as two words.
  if (value == Value::kCodeWord) {
    for (DrawnValue& drawn : values) {
      std::string spaced = drawn.text;
      std::replace(spaced.begin(), spaced.end(), '-', ' ');
      drawn.accept.push_back(std::move(spaced));
    }
  }
  return values;
}

std::string Opening(Rng& rng) {
  static const auto* openings =
      new std::vector<std::string>{"", "", "According to the text {above}: ", "Use the text {above}. ",
                                   "Somewhere in the text {above} this is stated. "};
  return rng.Pick(*openings);
}

// `count` facts of one form about different things; the first is asked for.
absl::StatusOr<Draft> DraftKeyed(const Scene& scene, size_t count) {
  Rng& rng = scene.rng;
  const Template& form = kTemplates[rng.Below(std::size(kTemplates))];
  const std::vector<std::string> things = DrawThings(count, rng);
  const std::vector<DrawnValue> values = DrawValues(form.value, count, rng);
  std::vector<double> depths = SpreadDepths(count, rng);
  rng.Shuffle(depths);
  Draft draft;
  for (size_t i = 0; i < count; ++i) {
    const std::string subject = Fill(form.statement, {{"thing", things[i]}});
    draft.facts.push_back(Statement(Fill(subject, {{"value", values[i].text}}), depths[i], i == 0, subject));
  }
  EvalCase& eval_case = draft.eval_case;
  eval_case.question = absl::StrCat(Opening(rng), Fill(form.question, {{"thing", things[0]}}), " ", Form(form.value));
  eval_case.answer = values[0].text;
  eval_case.accept = values[0].accept;
  return draft;
}

struct ListTemplate {
  const char* statement;
  const char* question;
  bool code_words;
};

constexpr ListTemplate kListTemplates[] = {
    {"One of the reserve codes of the {thing} is {value}.", "What are the three reserve codes of the {thing}?", false},
    {"The {thing} also ordered a part with number {value}.", "Which three part numbers were ordered by the {thing}?",
     false},
    {"A container with number {value} was delivered to the {thing}.",
     "What are the numbers of the three containers that were delivered to the {thing}?", false},
    {"The watchword {value} is accepted at the {thing}.", "Which three watchwords are accepted at the {thing}?", true},
    {"A guest at the {thing} signed the book as {value}.", "As what did the three guests at the {thing} sign the book?",
     true},
};

}  // namespace

absl::StatusOr<Draft> DraftNeedle(const Scene& scene) { return DraftKeyed(scene, 1); }

absl::StatusOr<Draft> DraftMultiKey(const Scene& scene) {
  return DraftKeyed(scene, scene.tokens < 2048 ? 4 : 4 + scene.rng.Below(7));
}

absl::StatusOr<Draft> DraftMultiValue(const Scene& scene) {
  constexpr size_t kValues = 3;  // of the thing asked for
  Rng& rng = scene.rng;
  const ListTemplate& form = kListTemplates[rng.Below(std::size(kListTemplates))];
  const size_t count = kValues + 2 + rng.Below(2);  // others are about another thing
  const std::vector<std::string> things = DrawThings(2, rng);
  const std::vector<std::string> values = form.code_words ? DrawCodeWords(count, rng) : DrawNumbers(count, 6, rng);
  std::vector<double> depths = SpreadDepths(count, rng);
  rng.Shuffle(depths);
  std::sort(depths.begin(), depths.begin() + kValues);  // the answer lists them as they come
  Draft draft;
  for (size_t i = 0; i < count; ++i) {
    const bool asked = i < kValues;
    const std::string subject = Fill(form.statement, {{"thing", things[asked ? 0 : 1]}});
    draft.facts.push_back(Statement(Fill(subject, {{"value", values[i]}}), depths[i], asked, subject));
  }
  EvalCase& eval_case = draft.eval_case;
  eval_case.question = absl::StrCat(Opening(rng), Fill(form.question, {{"thing", things[0]}}),
                                    " Answer with the three, separated by commas.");
  eval_case.accept.assign(values.begin(), values.begin() + kValues);
  eval_case.answer = absl::StrJoin(eval_case.accept, ", ");
  eval_case.all_required = true;
  return draft;
}

}  // namespace slimfill::eval
