// multihop: two facts in different places that must be joined, among others of the same form.
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/eval/kinds.h"
#include "engine/eval/words.h"

namespace slimfill::eval {
namespace {

enum class Subject { kPerson, kThing, kParcel };
enum class Link { kTeam, kCity };
enum class Goal { kNumber, kPerson };

struct Relation {
  Subject subject;
  Link link;
  Goal goal;
  const char* first;   // "{subject}" has "{link}"
  const char* second;  // "{link}" has "{goal}"
  const char* question;
  const char* form;
};

constexpr Relation kRelations[] = {
    {Subject::kPerson, Link::kTeam, Goal::kNumber, "{subject} works for the {link} team.",
     "The {link} team sits in room {goal}.", "In which room does the team of {subject} sit?",
     "Answer with the number only."},
    {Subject::kPerson, Link::kCity, Goal::kPerson, "{subject} has been transferred to the office in {link}.",
     "The office in {link} is run by {goal}.", "Who runs the office that {subject} has been transferred to?",
     "Answer with the full name only."},
    {Subject::kParcel, Link::kTeam, Goal::kNumber, "Parcel {subject} was loaded onto the ship {link}.",
     "The ship {link} is moored at berth {goal}.",
     "At which berth is the ship moored that parcel {subject} was loaded onto?", "Answer with the number only."},
    {Subject::kThing, Link::kTeam, Goal::kPerson, "The {subject} is insured with the company {link}.",
     "Claims to the company {link} are handled by {goal}.",
     "Who handles claims at the company that insures the {subject}?", "Answer with the full name only."},
    {Subject::kThing, Link::kCity, Goal::kNumber, "The blueprints of the {subject} are kept in {link}.",
     "The archive in {link} can be reached at extension {goal}.",
     "At which extension can the archive be reached that keeps the blueprints of the {subject}?",
     "Answer with the number only."},
    {Subject::kPerson, Link::kTeam, Goal::kPerson, "The thesis of {subject} was written at the {link} institute.",
     "The director of the {link} institute is {goal}.",
     "Who is the director of the institute where {subject} wrote a thesis?", "Answer with the full name only."},
};

std::vector<std::string> DrawSubjects(Subject subject, size_t count, std::vector<std::string>& people, Rng& rng) {
  if (subject == Subject::kThing) return DrawThings(count, rng);
  if (subject == Subject::kParcel) return DrawNumbers(count, 6, rng);
  std::vector<std::string> drawn(people.end() - static_cast<std::ptrdiff_t>(count), people.end());
  people.resize(people.size() - count);
  return drawn;
}

}  // namespace

absl::StatusOr<Draft> DraftMultiHop(const Scene& scene) {
  Rng& rng = scene.rng;
  const Relation& relation = kRelations[rng.Below(std::size(kRelations))];
  const size_t count = 3 + rng.Below(2);
  std::vector<std::string> people = DrawPeople(2 * count, rng);  // subjects and goals are different people
  const std::vector<std::string> subjects = DrawSubjects(relation.subject, count, people, rng);
  const std::vector<std::string> links = rng.Sample(relation.link == Link::kTeam ? TeamNames() : Cities(), count);
  const std::vector<std::string> goals =
      relation.goal == Goal::kPerson ? DrawSubjects(Subject::kPerson, count, people, rng) : DrawNumbers(count, 4, rng);
  std::vector<double> depths = SpreadDepths(2 * count, rng);
  rng.Shuffle(depths);
  Draft draft;
  for (size_t i = 0; i < count; ++i) {
    const std::string first = Fill(relation.first, {{"subject", subjects[i]}});
    const std::string second = Fill(relation.second, {{"link", links[i]}});
    draft.facts.push_back(Statement(Fill(first, {{"link", links[i]}}), depths[2 * i], i == 0, first));
    draft.facts.push_back(Statement(Fill(second, {{"goal", goals[i]}}), depths[2 * i + 1], i == 0, second));
  }
  EvalCase& eval_case = draft.eval_case;
  eval_case.question =
      absl::StrCat("Use the text {above}. ", Fill(relation.question, {{"subject", subjects[0]}}), " ", relation.form);
  eval_case.answer = goals[0];
  eval_case.accept = {goals[0]};
  return draft;
}

}  // namespace slimfill::eval
