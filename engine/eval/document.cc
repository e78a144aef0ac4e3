#include "engine/eval/document.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/eval/source_text.h"
#include "engine/model/utf8.h"

namespace slimfill::eval {
namespace {

constexpr int kLengthAttempts = 6;

const std::vector<SourceText>& Sources(const Corpus& corpus, Filler filler) {
  switch (filler) {
    case Filler::kProse:
      return corpus.prose();
    case Filler::kDocumentation:
      return corpus.documentation();
    case Filler::kCode:
      return corpus.code();
  }
  return corpus.prose();
}

// Pieces of one source after another, none twice. The first source begins anywhere, so that short documents are not
// all beginnings.
class PieceStream {
 public:
  PieceStream(const std::vector<SourceText>& sources, Filler filler, Rng& rng) : sources_(sources), filler_(filler) {
    order_.resize(sources.size());
    std::iota(order_.begin(), order_.end(), size_t{0});
    rng.Shuffle(order_);
    first_depth_ = rng.Unit();
  }

  std::optional<std::string> Next() {
    while (next_piece_ >= pieces_.size()) {
      if (next_source_ == order_.size()) return std::nullopt;
      Open(sources_[order_[next_source_++]]);
    }
    return pieces_[next_piece_++];
  }

 private:
  void Open(const SourceText& source) {
    pieces_ = SplitPieces(source.text + "\n");
    next_piece_ = 0;
    if (next_source_ == 1) {
      next_piece_ = static_cast<size_t>(first_depth_ * 0.8 * static_cast<double>(pieces_.size()));
      while (next_piece_ > 0 && !MayStart(next_piece_)) --next_piece_;
    }
    if (filler_ == Filler::kCode) pieces_[next_piece_].insert(0, absl::StrCat(kFileMark, source.name, "\n"));
  }

  // Code begins with a definition, so that it is known what is inside a docstring.
  bool MayStart(size_t piece) const {
    const std::string& text = pieces_[piece];
    return EndsParagraph(pieces_[piece - 1]) &&
           (filler_ != Filler::kCode || absl::StartsWith(text, "def ") || absl::StartsWith(text, "class ") ||
            absl::StartsWith(text, "async def ") || absl::StartsWith(text, "@"));
  }

  const std::vector<SourceText>& sources_;
  const Filler filler_;
  std::vector<size_t> order_;
  double first_depth_ = 0;
  size_t next_source_ = 0;
  std::vector<std::string> pieces_;
  size_t next_piece_ = 0;
};

// The pieces taken so far with their tokens, so that another try at the length does not count them again.
class CountedPieces {
 public:
  CountedPieces(const engine::Tokenizer& tokenizer, PieceStream stream)
      : tokenizer_(tokenizer), stream_(std::move(stream)) {}

  // Pieces of about `tokens` tokens together; the last is cut behind a word.
  absl::StatusOr<std::vector<std::string>> Take(int64_t tokens) {
    std::vector<std::string> taken;
    for (size_t i = 0; tokens > 0; ++i) {
      if (i == pieces_.size()) {
        std::optional<std::string> piece = stream_.Next();
        if (!piece.has_value()) return absl::InvalidArgumentError("the corpus is too small for a document this long");
        absl::StatusOr<std::vector<engine::TokenEnd>> ends = tokenizer_.EncodeWithOffsets(*piece, false);
        if (!ends.ok()) return ends.status();
        pieces_.push_back({*std::move(piece), *std::move(ends)});
      }
      const auto& [text, ends] = pieces_[i];
      taken.push_back(text);
      if (static_cast<int64_t>(ends.size()) > tokens) taken.back() = CutBehindWord(text, ends[tokens - 1].end);
      tokens -= static_cast<int64_t>(ends.size());
    }
    return taken;
  }

 private:
  // At `end` itself, but not inside a character, where the word is a long one (a ruler, an address).
  static std::string CutBehindWord(absl::string_view text, size_t end) {
    constexpr size_t kLongWord = 16;
    const size_t space = std::min(text.find_first_of(" \n", end), text.size());
    if (space - end <= kLongWord) return std::string(text.substr(0, space));
    return std::string(text.substr(0, engine::ValidUtf8Prefix(text.substr(0, end))));
  }

  const engine::Tokenizer& tokenizer_;
  PieceStream stream_;
  std::vector<std::pair<std::string, std::vector<engine::TokenEnd>>> pieces_;
};

// Whether `piece` of code opens or closes a docstring and leaves it so.
bool TogglesDocstring(absl::string_view piece) {
  size_t quotes = 0;
  for (const absl::string_view mark : {"\"\"\"", "'''"}) {
    for (size_t at = piece.find(mark); at != absl::string_view::npos; at = piece.find(mark, at + 3)) ++quotes;
  }
  return quotes % 2 == 1;
}

// A piece that a passage may stand in front of.
struct Gap {
  size_t piece;
  size_t bytes_before;
  bool between_modules;
};

// Behind paragraphs, outside the docstrings of code.
std::vector<Gap> FindGaps(const std::vector<std::string>& pieces, Filler filler) {
  std::vector<Gap> gaps;
  size_t bytes = 0;
  bool in_docstring = false;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const bool starts_module = absl::StartsWith(pieces[i], kFileMark);
    if (starts_module) in_docstring = false;
    if (i == 0 || (EndsParagraph(pieces[i - 1]) && !in_docstring)) gaps.push_back({i, bytes, i == 0 || starts_module});
    bytes += pieces[i].size();
    if (filler == Filler::kCode) in_docstring ^= TogglesDocstring(pieces[i]);
  }
  gaps.push_back({pieces.size(), bytes, true});
  return gaps;
}

// For each passage the piece it goes in front of: at the first gap for it that is as deep as it is meant to be.
std::vector<size_t> PlacePassages(const std::vector<std::string>& pieces, const std::vector<Passage>& passages,
                                  Filler filler) {
  const std::vector<Gap> gaps = FindGaps(pieces, filler);
  std::vector<size_t> places;
  for (const Passage& passage : passages) {
    const auto wanted = static_cast<size_t>(passage.depth * static_cast<double>(gaps.back().bytes_before));
    const auto gap = std::find_if(gaps.begin(), gaps.end() - 1, [&](const Gap& g) {
      return g.bytes_before >= wanted && (g.between_modules || !passage.is_module);
    });
    places.push_back(gap->piece);
  }
  return places;
}

std::string Indentation(absl::string_view piece) { return std::string(piece.substr(0, piece.find_first_not_of(' '))); }

std::string Indented(absl::string_view text, absl::string_view indentation) {
  return absl::StrCat(indentation, absl::StrJoin(absl::StrSplit(text, '\n'), absl::StrCat("\n", indentation)));
}

Document Assemble(const std::vector<std::string>& pieces, const std::vector<Passage>& passages, Filler filler) {
  const std::vector<size_t> places = PlacePassages(pieces, passages, filler);
  std::vector<size_t> order(passages.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::make_pair(places[a], passages[a].depth) < std::make_pair(places[b], passages[b].depth);
  });
  Document document;
  document.passages.resize(passages.size());
  auto next = order.begin();
  for (size_t i = 0; i <= pieces.size(); ++i) {
    for (; next != order.end() && places[*next] == i; ++next) {
      std::string text = passages[*next].text;
      if (filler == Filler::kCode && i < pieces.size() && !passages[*next].is_module) {
        text = Indented(text, Indentation(pieces[i]));
      }
      if (i == pieces.size() && !document.text.empty() && !EndsParagraph(document.text)) document.text += "\n\n";
      document.passages[*next] = {document.text.size(), document.text.size() + text.size()};
      document.text += text;
      if (std::next(next) != order.end() || i < pieces.size()) document.text += "\n\n";
    }
    if (i < pieces.size()) document.text += pieces[i];
  }
  return document;
}

}  // namespace

bool IsLengthRight(int64_t tokens, int64_t target) { return std::abs(tokens - target) * 200 <= 3 * target; }

absl::StatusOr<int64_t> CountTokens(const engine::Tokenizer& tokenizer, absl::string_view text) {
  const auto tokens = tokenizer.Encode(text, /*parse_special=*/false);
  if (!tokens.ok()) return tokens.status();
  return static_cast<int64_t>(tokens->size());
}

absl::StatusOr<Document> ComposeDocument(const Corpus& corpus, const engine::Tokenizer& tokenizer,
                                         const std::vector<Passage>& passages, Filler filler, int64_t tokens,
                                         Rng& rng) {
  CountedPieces source(tokenizer, PieceStream(Sources(corpus, filler), filler, rng));
  int64_t filler_tokens = tokens;
  for (const Passage& passage : passages) {
    const auto count = CountTokens(tokenizer, passage.text);
    if (!count.ok()) return count.status();
    filler_tokens -= *count + 1;
  }
  // Tokens of the parts do not add up to those of the whole: correct by what is missing.
  for (int attempt = 0; attempt < kLengthAttempts; ++attempt) {
    if (filler_tokens < 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "a document of ", tokens, " tokens has no room for what is planted in it: ask for a longer one"));
    }
    const auto pieces = source.Take(filler_tokens);
    if (!pieces.ok()) return pieces.status();
    Document document = Assemble(*pieces, passages, filler);
    const auto count = CountTokens(tokenizer, document.text);
    if (!count.ok()) return count.status();
    if (IsLengthRight(*count, tokens)) return document;
    filler_tokens += tokens - *count;
  }
  return absl::AbortedError(absl::StrCat("no document of ", tokens, " tokens found"));
}

std::vector<double> SpreadDepths(size_t count, Rng& rng) {
  std::vector<double> depths;
  for (size_t i = 0; i < count; ++i) {
    depths.push_back((static_cast<double>(i) + rng.Unit()) / static_cast<double>(count));
  }
  return depths;
}

absl::StatusOr<ByteRange> Excerpt(const engine::Tokenizer& tokenizer, absl::string_view text, ByteRange evidence,
                                  int64_t tokens, Rng& rng) {
  std::vector<int64_t> sizes;
  std::vector<size_t> begins;
  size_t first = 0, last = 0;  // pieces that hold the evidence, then the excerpt
  size_t end = 0;
  for (const std::string& piece : SplitPieces(text)) {
    const auto size = CountTokens(tokenizer, piece);
    if (!size.ok()) return size.status();
    if (end <= evidence.first) first = sizes.size();
    if (end < evidence.second) last = sizes.size();
    sizes.push_back(*size);
    begins.push_back(end);
    end += piece.size();
  }
  begins.push_back(end);
  tokens -= std::accumulate(sizes.begin() + first, sizes.begin() + last + 1, int64_t{0});
  auto before = static_cast<int64_t>(rng.Unit() * static_cast<double>(std::max<int64_t>(tokens, 0)));
  while (first > 0 && sizes[first - 1] <= before) {
    before -= sizes[--first];
    tokens -= sizes[first];
  }
  while (last + 1 < sizes.size() && sizes[last + 1] <= tokens) tokens -= sizes[++last];
  while (first > 0 && sizes[first - 1] <= tokens) tokens -= sizes[--first];  // what the end of the text left over
  const absl::string_view excerpt = text.substr(begins[first], begins[last + 1] - begins[first]);
  return ByteRange(begins[first], begins[first] + absl::StripTrailingAsciiWhitespace(excerpt).size());
}

ByteRange FindOnce(absl::string_view text, absl::string_view passage) {
  std::string words;
  std::vector<size_t> byte_of;  // in `text`, of each byte of `words`
  for (size_t i = 0; i < text.size(); ++i) {
    const bool space = absl::ascii_isspace(text[i]);
    if (space && !words.empty() && words.back() == ' ') continue;
    words.push_back(space ? ' ' : text[i]);
    byte_of.push_back(i);
  }
  std::string wanted(passage);
  absl::RemoveExtraAsciiWhitespace(&wanted);
  std::replace(wanted.begin(), wanted.end(), '\n', ' ');
  const size_t at = words.find(wanted);
  if (wanted.empty() || at == std::string::npos || words.find(wanted, at + 1) != std::string::npos) return {0, 0};
  return {byte_of[at], byte_of[at + wanted.size() - 1] + 1};
}

}  // namespace slimfill::eval
