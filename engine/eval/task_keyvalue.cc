// keyvalue: lines of data with keys that differ in a digit or a word, one of them looked up.
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/eval/kinds.h"
#include "engine/eval/words.h"

namespace slimfill::eval {
namespace {

struct Row {
  std::string key;
  std::string value;
  std::string text;
};

struct Format {
  const char* header;
  std::string (*row)(const std::string& key, const std::string& value, size_t index, Rng& rng);
  const char* question;  // "{key}"; the value is the answer
  const char* reverse;   // "{value}"; the key is the answer. Null when never asked
};

std::string JsonMember(const std::string& key, const std::string& value, size_t, Rng&) {
  return absl::StrCat("  \"", key, "\": ", value, ",");
}

std::string JsonLine(const std::string& key, const std::string& value, size_t, Rng& rng) {
  return absl::StrCat("{\"id\": \"", key, "\", \"owner\": \"", rng.Pick(LastNames()), "\", \"city\": \"",
                      rng.Pick(Cities()), "\", \"batch\": ", value, "}");
}

std::string CsvRow(const std::string& key, const std::string& value, size_t, Rng& rng) {
  return absl::StrCat(key, ",", rng.Pick(FirstNames()), " ", rng.Pick(LastNames()), ",", rng.Pick(Cities()), ",",
                      value);
}

std::string LogLine(const std::string& key, const std::string& value, size_t index, Rng& rng) {
  const size_t second = 7 * index;
  return absl::StrFormat("2031-%02d-%02d %02d:%02d:%02d INFO worker-%d finished job %s in %s us",
                         3 + second / 86400 / 28 % 9, 1 + second / 86400 % 28, second / 3600 % 24, second / 60 % 60,
                         second % 60, rng.Between(1, 8), key, value);
}

std::string IniSection(const std::string& key, const std::string& value, size_t, Rng& rng) {
  return absl::StrCat("[", key, "]\nregion = ", rng.Pick(Cities()), "\nticket = ", value, "\n");
}

constexpr Format kFormats[] = {
    {"{", JsonMember, "What is the value of the key \"{key}\" in the JSON {above}? Answer with the number only.",
     nullptr},
    {"", JsonLine,
     "In the JSON lines {above}, what is the batch of the record with the id {key}? Answer with the number only.",
     "In the JSON lines {above}, what is the id of the record with batch {value}? Answer with the id only."},
    {"order,customer,city,total", CsvRow,
     "In the table {above}, what is the total of order {key}? Answer with the number only.",
     "In the table {above}, which order has a total of {value}? Answer with the order's name only."},
    {"", LogLine, "By the log {above}, how many microseconds (us) did job {key} take? Answer with the number only.",
     "By the log {above}, which job finished in {value} us? Answer with the job's name only."},
    {"", IniSection, "In the settings {above}, what is the ticket of section {key}? Answer with the number only.",
     nullptr},
};

// Rows with keys of few prefixes, so that many differ in a digit or two.
class RowMaker {
 public:
  explicit RowMaker(const Format& format, Rng& rng) : format_(format), rng_(rng) {
    const std::vector<std::string> adjectives = rng.Sample(Adjectives(), 3);
    const std::vector<std::string> nouns = rng.Sample(Nouns(), 2);
    for (const std::string& adjective : adjectives) {
      for (const std::string& noun : nouns) prefixes_.push_back(absl::StrCat(adjective, "-", noun, "-"));
    }
  }

  Row Next() {
    Row row;
    do {
      row.key = absl::StrCat(rng_.Pick(prefixes_), rng_.Between(1000, 9999));
    } while (!keys_.insert(row.key).second);
    do {
      row.value = absl::StrCat(rng_.Between(100'000, 999'999));
    } while (!values_.insert(row.value).second);
    row.text = format_.row(row.key, row.value, keys_.size(), rng_);
    return row;
  }

 private:
  const Format& format_;
  Rng& rng_;
  std::vector<std::string> prefixes_;
  std::set<std::string> keys_, values_;
};

// Fills `document` with as many rows as `tokens` hold, the last cut where they end, and returns the whole ones with
// their ranges.
absl::StatusOr<std::vector<std::pair<Row, ByteRange>>> WriteRows(const Scene& scene, const Format& format,
                                                                 std::string& document) {
  constexpr int64_t kMinRowTokens = 8;
  constexpr int64_t kMaxRows = 50'000;  // of 54,000 different keys
  const int64_t count = scene.tokens / kMinRowTokens;
  if (count > kMaxRows) {
    return absl::InvalidArgumentError(
        absl::StrCat("keyvalue of ", scene.tokens, " tokens: the most is ", kMaxRows * kMinRowTokens));
  }
  RowMaker maker(format, scene.rng);
  std::vector<std::pair<Row, ByteRange>> rows;
  document = *format.header == '\0' ? "" : absl::StrCat(format.header, "\n");
  for (int64_t i = 0; i < count; ++i) {
    Row row = maker.Next();
    const ByteRange range = {document.size(), document.size() + row.text.size()};
    absl::StrAppend(&document, row.text, "\n");
    rows.emplace_back(std::move(row), range);
  }
  const auto ends = scene.tokenizer.EncodeWithOffsets(document, /*parse_special=*/false);
  if (!ends.ok()) return ends.status();
  if (static_cast<int64_t>(ends->size()) < scene.tokens) return absl::InternalError("keyvalue: rows are too short");
  document.resize((*ends)[scene.tokens - 1].end);
  while (rows.back().second.second > document.size()) rows.pop_back();
  return rows;
}

}  // namespace

absl::StatusOr<std::vector<Draft>> DraftKeyValues(const Scene& scene, size_t count) {
  Rng& rng = scene.rng;
  const Format& format = kFormats[rng.Below(std::size(kFormats))];
  bool reverse = rng.Chance(0.25) && format.reverse != nullptr;
  std::string document;
  const auto rows = WriteRows(scene, format, document);
  if (!rows.ok()) return rows.status();
  if (rows->size() < count) return absl::InvalidArgumentError("keyvalue: more questions than rows");
  std::set<std::string> asked;
  std::vector<Draft> drafts;
  while (drafts.size() < count) {
    const auto& [row, range] = rng.Pick(*rows);
    if (!asked.insert(row.key).second) continue;
    EvalCase& eval_case = drafts.emplace_back().eval_case;
    eval_case.document = document;
    eval_case.evidence = {range};
    eval_case.question = Fill(reverse ? format.reverse : format.question, {{"key", row.key}, {"value", row.value}});
    eval_case.answer = reverse ? row.key : row.value;
    eval_case.accept = {eval_case.answer};
    reverse = rng.Chance(0.25) && format.reverse != nullptr;
  }
  return drafts;
}

absl::StatusOr<Draft> DraftKeyValue(const Scene& scene) {
  absl::StatusOr<std::vector<Draft>> drafts = DraftKeyValues(scene, 1);
  if (!drafts.ok()) return drafts.status();
  return std::move(drafts->front());
}

}  // namespace slimfill::eval
