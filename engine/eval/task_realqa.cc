// realqa: questions by hand about real licence texts, which stand between other documentation.
#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "engine/eval/kinds.h"
#include "engine/eval/realqa_questions.h"
#include "engine/eval/source_text.h"

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

// Whole pieces of `text` around `evidence` of about `tokens` tokens together, a random share of them before it.
absl::StatusOr<std::string> Excerpt(const Scene& scene, absl::string_view text, ByteRange evidence, int64_t tokens) {
  const std::vector<std::string> pieces = SplitPieces(text);
  std::vector<int64_t> sizes;
  size_t first = 0, last = 0;  // pieces that hold the evidence, then the excerpt
  size_t begin = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto size = CountTokens(scene.tokenizer, pieces[i]);
    if (!size.ok()) return size.status();
    sizes.push_back(*size);
    if (begin <= evidence.first) first = i;
    if (begin < evidence.second) last = i;
    begin += pieces[i].size();
  }
  for (size_t i = first; i <= last; ++i) tokens -= sizes[i];
  auto before = static_cast<int64_t>(scene.rng.Unit() * static_cast<double>(tokens));
  while (first > 0 && sizes[first - 1] <= before) {
    before -= sizes[--first];
    tokens -= sizes[first];
  }
  while (last + 1 < pieces.size() && sizes[last + 1] <= tokens) tokens -= sizes[++last];
  while (first > 0 && sizes[first - 1] <= tokens) tokens -= sizes[--first];  // what the end of the text left over
  std::string excerpt;
  for (size_t i = first; i <= last; ++i) excerpt += pieces[i];
  return std::string(absl::StripTrailingAsciiWhitespace(excerpt));
}

}  // namespace

absl::StatusOr<EvalCase> MakeRealQa(const Scene& scene) {
  const std::vector<Found> found = FindQuestions(scene.corpus);
  if (found.empty()) {
    return absl::FailedPreconditionError("realqa: none of the licence texts is the one its questions are about");
  }
  const auto& [question, licence, evidence] = found[scene.seed % found.size()];
  const auto room = static_cast<int64_t>(kLicenceShare * static_cast<double>(scene.tokens));
  const auto excerpt = Excerpt(scene, licence->text, evidence, room);
  if (!excerpt.ok()) return excerpt.status();
  EvalCase eval_case;
  eval_case.question =
      absl::StrCat("Use the text {above}. ", Fill(question->question, {{"title", LicenceTitle(question->licence)}}),
                   " Answer with a few words only.");
  eval_case.answer = question->answer;
  eval_case.accept = question->accept;
  // Other licences would contradict it, so the rest is documentation.
  const absl::Status planted =
      PlantFacts(scene, {{*excerpt, scene.rng.Unit(), true}}, Filler::kDocumentation, eval_case);
  if (!planted.ok()) return planted;
  const size_t begin = eval_case.evidence[0].first;
  const ByteRange in_excerpt = FindOnce(*excerpt, question->evidence);
  eval_case.evidence = {{begin + in_excerpt.first, begin + in_excerpt.second}};
  return eval_case;
}

}  // namespace slimfill::eval
