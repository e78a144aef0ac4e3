#include "engine/eval/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "engine/eval/document.h"
#include "engine/eval/realqa_questions.h"
#include "engine/eval/source_text.h"
#include "engine/model/utf8.h"

namespace slimfill::eval {
namespace {

using ::testing::HasSubstr;

Corpus MustLoad(Split split, const CorpusRoots& roots = {}) {
  auto corpus = Corpus::Load(split, roots);
  if (!corpus.ok()) throw std::runtime_error(corpus.status().ToString());
  return *std::move(corpus);
}

std::set<std::string> Names(const std::vector<SourceText>& texts) {
  std::set<std::string> names;
  for (const SourceText& text : texts) names.insert(text.name);
  return names;
}

std::set<uint64_t> Paragraphs(const Corpus& corpus) {
  std::set<uint64_t> paragraphs;
  for (const auto* texts : {&corpus.prose(), &corpus.licences()}) {
    for (const SourceText& text : *texts) {
      for (const uint64_t paragraph : LongParagraphs(text.text)) paragraphs.insert(paragraph);
    }
  }
  return paragraphs;
}

template <typename T>
std::vector<T> Common(const std::set<T>& a, const std::set<T>& b) {
  std::vector<T> common;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(common));
  return common;
}

TEST(CorpusTest, HalvesShareNothing) {
  const Corpus calibration = MustLoad(Split::kCalibration);
  const Corpus held_out = MustLoad(Split::kHeldOut);
  EXPECT_TRUE(Common(Names(calibration.prose()), Names(held_out.prose())).empty());
  EXPECT_TRUE(Common(Names(calibration.code()), Names(held_out.code())).empty());
  EXPECT_TRUE(Common(Names(calibration.licences()), Names(held_out.licences())).empty());
  EXPECT_TRUE(Common(Paragraphs(calibration), Paragraphs(held_out)).empty());
  EXPECT_NE(calibration.fingerprint(), held_out.fingerprint());
}

TEST(CorpusTest, NeedsOnlyLicencesAndPython) {
  CorpusRoots roots;
  roots.perl.clear();
  for (const Split split : {Split::kCalibration, Split::kHeldOut}) {
    const Corpus corpus = MustLoad(split, roots);
    EXPECT_GT(corpus.documentation().size(), 50u);
    EXPECT_GT(corpus.code().size(), 50u);
  }
}

TEST(CorpusTest, IsValidTextOfMuchTheSameSizeInBothHalves) {
  size_t bytes[2] = {0, 0};
  for (const Split split : {Split::kCalibration, Split::kHeldOut}) {
    const Corpus corpus = MustLoad(split);
    for (const auto* texts : {&corpus.prose(), &corpus.licences(), &corpus.code()}) {
      for (const SourceText& text : *texts) {
        bytes[split == Split::kHeldOut] += text.text.size();
        EXPECT_EQ(engine::ValidUtf8Prefix(text.text), text.text.size()) << text.name;
      }
    }
  }
  EXPECT_LT(bytes[0], 2 * bytes[1]);
  EXPECT_LT(bytes[1], 2 * bytes[0]);
}

TEST(CorpusTest, IsTheSameEveryTime) {
  EXPECT_EQ(MustLoad(Split::kHeldOut).fingerprint(), MustLoad(Split::kHeldOut).fingerprint());
}

TEST(CorpusTest, SaysWhatIsMissing) {
  CorpusRoots roots;
  roots.python_parent = ::testing::TempDir();
  const auto without_python = Corpus::Load(Split::kHeldOut, roots);
  EXPECT_TRUE(absl::IsFailedPrecondition(without_python.status()));
  EXPECT_THAT(std::string(without_python.status().message()), HasSubstr("install Debian's package python3"));
  roots.licences = "/nowhere";
  const auto without_licences = Corpus::Load(Split::kHeldOut, roots);
  EXPECT_THAT(std::string(without_licences.status().message()), HasSubstr("/nowhere"));
}

// On a Debian 12 machine every question has its text.
TEST(RealQuestionsTest, EvidenceStandsOnceInTheLicence) {
  size_t found[2] = {0, 0};
  for (const Split split : {Split::kCalibration, Split::kHeldOut}) {
    const Corpus corpus = MustLoad(split);
    for (const RealQuestion& question : RealQuestions()) {
      for (const SourceText& licence : corpus.licences()) {
        if (licence.name != question.licence) continue;
        const ByteRange range = FindOnce(licence.text, question.evidence);
        EXPECT_GT(range.second, 0u) << question.licence << ": " << question.evidence;
        found[split == Split::kHeldOut] += range.second > 0;
      }
    }
  }
  EXPECT_EQ(found[0] + found[1], RealQuestions().size());
  EXPECT_GE(found[0], 15u);
  EXPECT_GE(found[1], 30u);
}

}  // namespace
}  // namespace slimfill::eval
