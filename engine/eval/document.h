// Documents of a wanted length: real text with planted passages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/eval/corpus.h"
#include "engine/eval/rng.h"
#include "engine/model/tokenizer.h"

namespace slimfill::eval {

enum class Filler { kProse, kDocumentation, kCode };

struct Passage {
  std::string text;  // without blank lines around it
  double depth = 0;  // where it goes: 0 the beginning, 1 the end of the filler around it
  // In code: a module of its own, which stands between two others as it is.
  bool is_module = false;
};

using ByteRange = std::pair<size_t, size_t>;  // [begin, end)

struct Document {
  std::string text;
  std::vector<ByteRange> passages;  // in the order they were given
};

inline constexpr absl::string_view kFileMark = "# File: ";  // before each module's name

// How far a document may be from its target: within 1.5 %, so that 2 % can be promised.
bool IsLengthRight(int64_t tokens, int64_t target);

absl::StatusOr<int64_t> CountTokens(const engine::Tokenizer& tokenizer, absl::string_view text);

// A document of about `tokens` tokens: `passages` between paragraphs of real text, all of it from `corpus`, in an order
// that `rng` draws. In code, a passage gets the indentation of the line behind it. INVALID_ARGUMENT when the corpus is
// too small or the passages leave no room; ABORTED when the length is not met, as another draw would.
absl::StatusOr<Document> ComposeDocument(const Corpus& corpus, const engine::Tokenizer& tokenizer,
                                         const std::vector<Passage>& passages, Filler filler, int64_t tokens, Rng& rng);

// `count` depths, one in each of as many equal parts of the document, ascending.
std::vector<double> SpreadDepths(size_t count, Rng& rng);

// The range of whole pieces of `text` around `evidence` that has about `tokens` tokens, a random share of them before
// it.
absl::StatusOr<ByteRange> Excerpt(const engine::Tokenizer& tokenizer, absl::string_view text, ByteRange evidence,
                                  int64_t tokens, Rng& rng);

// Where `passage` stands in `text`, taking any white space for any other. Empty range when it does not stand there
// exactly once.
ByteRange FindOnce(absl::string_view text, absl::string_view passage);

}  // namespace slimfill::eval
