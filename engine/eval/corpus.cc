#include "engine/eval/corpus.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/eval/corpus_files.h"
#include "engine/eval/rng.h"
#include "engine/eval/source_text.h"
#include "xxhash.h"

namespace slimfill::eval {
namespace {

constexpr size_t kMinBytes = 200'000;  // of prose, and of code: a document of 32k tokens and some choice

// Licences that quote each other must stay together, and both halves need some to ask about: a table, not a hash.
bool IsHeldOutLicence(absl::string_view name) {
  return absl::StartsWith(name, "Apache") || absl::StartsWith(name, "GPL") || absl::StartsWith(name, "LGPL") ||
         absl::StartsWith(name, "GFDL");
}

// Sets of texts that must not be torn apart (union-find).
class Groups {
 public:
  explicit Groups(size_t size) : parent_(size) { std::iota(parent_.begin(), parent_.end(), size_t{0}); }
  size_t Find(size_t member) {
    while (parent_[member] != member) member = parent_[member] = parent_[parent_[member]];
    return member;
  }
  // The smaller number leads, so that a group's leader does not depend on the order of joining.
  void Join(size_t a, size_t b) {
    a = Find(a);
    b = Find(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<size_t> parent_;
};

Split SplitByName(absl::string_view name) {
  // The low bits of FNV follow the last letters too closely.
  return (HashText(name) >> 32) % 2 == 0 ? Split::kCalibration : Split::kHeldOut;
}

// The halves of `texts`, the first `licences` of which are licences: texts that share a long paragraph go together.
std::vector<Split> AssignSplits(const std::vector<const SourceText*>& texts, size_t licences) {
  Groups groups(texts.size());
  std::map<uint64_t, size_t> first_with;
  for (size_t i = 0; i < texts.size(); ++i) {
    for (const uint64_t paragraph : LongParagraphs(texts[i]->text)) {
      groups.Join(i, first_with.emplace(paragraph, i).first->second);
    }
  }
  std::vector<Split> splits;
  for (size_t i = 0; i < texts.size(); ++i) {
    const size_t leader = groups.Find(i);
    // A licence decides for itself and for texts that quote it.
    const size_t judge = i < licences ? i : leader;
    splits.push_back(judge >= licences                      ? SplitByName(texts[judge]->name)
                     : IsHeldOutLicence(texts[judge]->name) ? Split::kHeldOut
                                                            : Split::kCalibration);
  }
  return splits;
}

// Drops texts that mostly repeat longer ones (a chapter beside its sections), keeping the order.
std::vector<SourceText> WithoutNearCopies(std::vector<SourceText> texts) {
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&texts](size_t a, size_t b) { return texts[a].text.size() > texts[b].text.size(); });
  std::set<uint64_t> seen;
  std::vector<bool> keep(texts.size());
  for (const size_t i : order) {
    const std::vector<uint64_t> paragraphs = LongParagraphs(texts[i].text);
    const auto repeated =
        std::count_if(paragraphs.begin(), paragraphs.end(), [&seen](uint64_t p) { return seen.contains(p); });
    keep[i] = 2 * repeated <= static_cast<int64_t>(paragraphs.size());
    if (keep[i]) seen.insert(paragraphs.begin(), paragraphs.end());
  }
  std::vector<SourceText> kept;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (keep[i]) kept.push_back(std::move(texts[i]));
  }
  return kept;
}

size_t TotalBytes(const std::vector<SourceText>& texts) {
  return std::accumulate(texts.begin(), texts.end(), size_t{0},
                         [](size_t sum, const SourceText& text) { return sum + text.text.size(); });
}

absl::Status CheckEnough(absl::string_view what, const std::vector<SourceText>& texts, absl::string_view remedy) {
  const size_t bytes = TotalBytes(texts);
  if (bytes >= kMinBytes) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the corpus has ", bytes, " bytes of ", what, ", evaluation needs ", kMinBytes, ": ", remedy));
}

// XXH3-64 of all names and texts, each with the zero byte behind it that no text holds.
uint64_t Fingerprint(const std::vector<const std::vector<SourceText>*>& lists) {
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(), XXH3_freeState);
  XXH3_64bits_reset(state.get());
  for (const auto* list : lists) {
    for (const SourceText& text : *list) {
      XXH3_64bits_update(state.get(), text.name.c_str(), text.name.size() + 1);
      XXH3_64bits_update(state.get(), text.text.c_str(), text.text.size() + 1);
    }
  }
  return XXH3_64bits_digest(state.get());
}

}  // namespace

absl::StatusOr<Corpus> Corpus::Load(Split split, const CorpusRoots& roots) {
  absl::StatusOr<CorpusFiles> files = ReadCorpusFiles(roots);
  if (!files.ok()) return files.status();

  std::vector<const SourceText*> texts;
  for (const SourceText& text : files->licences) texts.push_back(&text);
  for (const SourceText& text : files->documentation) texts.push_back(&text);
  const std::vector<Split> splits = AssignSplits(texts, files->licences.size());
  std::map<std::string, Split> split_of;
  for (size_t i = 0; i < texts.size(); ++i) split_of[texts[i]->name] = splits[i];

  Corpus corpus;
  corpus.split_ = split;
  for (const SourceText& text : files->licences) {
    if (split_of.at(text.name) == split) corpus.licences_.push_back(text);
  }
  std::vector<SourceText> documentation;
  for (const SourceText& text : files->documentation) {
    if (split_of.at(text.name) == split) documentation.push_back(text);
  }
  corpus.documentation_ = WithoutNearCopies(std::move(documentation));
  corpus.prose_ = corpus.documentation_;
  for (const SourceText& text : WithoutNearCopies(corpus.licences_)) corpus.prose_.push_back(text);
  for (const SourceText& text : files->code) {
    // A module goes where its docstrings went.
    const auto docstrings = split_of.find(absl::StrCat("docstrings/", text.name));
    if ((docstrings == split_of.end() ? SplitByName(text.name) : docstrings->second) == split)
      corpus.code_.push_back(text);
  }

  absl::Status enough =
      CheckEnough("prose", corpus.prose_, "install Debian's packages python3 (pydoc_data/topics.py) or perl-modules");
  if (enough.ok()) enough = CheckEnough("code", corpus.code_, "install Debian's package python3");
  if (!enough.ok()) return enough;
  corpus.fingerprint_ = Fingerprint({&corpus.prose_, &corpus.licences_, &corpus.code_});
  return corpus;
}

}  // namespace slimfill::eval
