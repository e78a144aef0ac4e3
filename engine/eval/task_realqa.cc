// realqa: questions by hand about real licence texts, which stand between other documentation.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/eval/kinds.h"
#include "engine/eval/realqa_questions.h"

namespace slimfill::eval {
namespace {

constexpr double kLicenceShare = 0.6;  // of the document, at most

const SourceText* FindLicence(const Corpus& corpus, absl::string_view name) {
  const auto& licences = corpus.licences();
  const auto licence =
      std::find_if(licences.begin(), licences.end(), [name](const SourceText& l) { return l.name == name; });
  return licence == licences.end() ? nullptr : &*licence;
}

struct Found {
  const RealQuestion* question;
  const SourceText* licence;
  ByteRange evidence;  // in the licence
};

// The questions whose evidence this half of the corpus has, in an order that mixes licences but is always the same.
std::vector<Found> FindQuestions(const Corpus& corpus) {
  std::vector<Found> found;
  for (const RealQuestion& question : RealQuestions()) {
    const SourceText* licence = FindLicence(corpus, question.licence);
    if (licence == nullptr) continue;
    const ByteRange evidence = FindOnce(licence->text, question.evidence);
    if (evidence.second > 0) found.push_back({&question, licence, evidence});  // else another edition of the text
  }
  Rng(found.size()).Shuffle(found);
  return found;
}

}  // namespace

absl::StatusOr<Draft> DraftRealQa(const Scene& scene) {
  const std::vector<Found> found = FindQuestions(scene.corpus);
  if (found.empty()) {
    return absl::FailedPreconditionError("realqa: none of the licence texts is the one its questions are about");
  }
  const auto& [question, licence, evidence] = found[scene.seed % found.size()];
  const auto room = static_cast<int64_t>(kLicenceShare * static_cast<double>(scene.room));
  const auto range = Excerpt(scene.tokenizer, licence->text, evidence, room, scene.rng);
  if (!range.ok()) return range.status();
  Draft draft{.filler = Filler::kDocumentation};  // other licences would contradict this one
  EvalCase& eval_case = draft.eval_case;
  eval_case.question =
      absl::StrCat("Use the text {above}. ", Fill(question->question, {{"title", LicenceTitle(question->licence)}}),
                   " Answer with a few words only.");
  eval_case.answer = question->answer;
  eval_case.accept = question->accept;
  Fact fact{.text = licence->text.substr(range->first, range->second - range->first), .depth = scene.rng.Unit()};
  fact.evidence.emplace_back(evidence.first - range->first, evidence.second - range->first);
  draft.facts.push_back(std::move(fact));
  return draft;
}

}  // namespace slimfill::eval
