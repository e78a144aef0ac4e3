// One case of the long-context evaluation: a document, a question about it, and what counts as right.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace slimfill::eval {

struct EvalCase {
  std::string kind;  // one of TaskKinds()
  uint64_t seed = 0;
  int64_t target_tokens = 0;  // of the document; it has this many within 2 %
  std::string document;       // UTF-8
  std::string question;       // says the form wanted ("Answer with the number only.")
  // What a good model would say first, for teacher forcing. Empty for summary_control: a summary has no reference.
  std::string answer;
  std::vector<std::string> accept;  // right when the output contains one of these; empty where only NLL counts
  bool all_required = false;        // right only when it contains all of `accept`
  bool question_first = false;      // the question is meant to stand before the document, and is worded so
  // Byte ranges [begin, end) of `document` that the answer needs, ascending, disjoint.
  std::vector<std::pair<size_t, size_t>> evidence;
};

// Whether `output` contains what the case accepts, as whole words of the normalised texts. False when nothing is
// accepted.
bool IsRight(const EvalCase& eval_case, absl::string_view output);

// Lower case, one space for any white space, without markdown's marks and thousands commas ("12,345" is 12345).
std::string NormaliseText(absl::string_view text);

// Whether `text` contains `words` bounded by something other than letters and digits. A number is not found in a
// longer one: 12 is in neither "12.5" nor "-12". Both normalised.
bool ContainsWords(absl::string_view text, absl::string_view words);

}  // namespace slimfill::eval
