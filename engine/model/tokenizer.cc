#include "engine/model/tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/model/added_tokens.h"
#include "engine/model/nfc.h"
#include "engine/model/pretokenizer.h"
#include "engine/model/utf8.h"

namespace slimfill::engine {
namespace {

// Offsets within a word must fit 31 bits, for the BPE symbols, and form NFC has up to three times the bytes.
constexpr size_t kMaxTextBytes = size_t{1} << 29;

// Control tokens that end a turn or a document in the model families we read, whichever of them is called eos.
constexpr std::array<absl::string_view, 6> kEndTokens = {"<|im_end|>",      "<|eot_id|>", "<|eom_id|>",
                                                         "<|end_of_text|>", "<|end|>",    "<|endoftext|>"};

AddedTokenMatcher MakeMatcher(const Vocabulary& vocabulary, bool control, bool user_defined) {
  std::vector<std::pair<std::string, TokenId>> tokens;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const TokenType type = vocabulary.type(id);
    const bool wanted = (type == TokenType::kControl && control) || (type == TokenType::kUserDefined && user_defined);
    if (wanted) tokens.emplace_back(vocabulary.bytes(id), id);
  }
  return AddedTokenMatcher(std::move(tokens));
}

}  // namespace

struct Tokenizer::Impl {
  Impl(Vocabulary checked_vocabulary, const PreTokenizerRules& pre_tokenizer_rules)
      : vocabulary(std::move(checked_vocabulary)),
        rules(pre_tokenizer_rules),
        bpe(vocabulary.byte_tokens(), vocabulary.merges()),
        control_tokens(MakeMatcher(vocabulary, true, false)),
        user_defined_tokens(MakeMatcher(vocabulary, false, true)),
        added_tokens(MakeMatcher(vocabulary, true, true)) {
    if (!rules.whole_word_lookup) return;
    for (TokenId id = 0; id < vocabulary.size(); ++id) {
      if (vocabulary.type(id) == TokenType::kNormal) words.emplace(vocabulary.bytes(id), id);
    }
  }

  const Vocabulary vocabulary;
  const PreTokenizerRules rules;
  const BytePairEncoder bpe;
  const AddedTokenMatcher control_tokens, user_defined_tokens, added_tokens;
  absl::flat_hash_map<absl::string_view, TokenId> words;  // of the vocabulary; filled for whole_word_lookup only
  TokenId bos = -1;
  TokenId eos = -1;
  bool add_bos = false;
  std::vector<TokenId> stop_tokens;
};

namespace {

// One call of Encode: cuts the text into ever smaller parts and collects the tokens.
class Encoding {
 public:
  Encoding(const Vocabulary& vocabulary, const PreTokenizerRules& rules, const BytePairEncoder& bpe,
           const absl::flat_hash_map<absl::string_view, TokenId>& words, int64_t max_tokens)
      : vocabulary_(vocabulary), rules_(rules), bpe_(bpe), words_(words), max_tokens_(max_tokens) {}

  // Added tokens, and plain text between them.
  absl::Status Text(absl::string_view text, const AddedTokenMatcher& added_tokens) {
    if (text.size() > kMaxTextBytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("text has ", text.size(), " bytes, the limit is ", kMaxTextBytes, ": shorten it"));
    }
    for (size_t position = 0; position < text.size();) {
      const AddedTokenMatcher::Match match = added_tokens.Find(text, position);
      SLIMFILL_RETURN_IF_ERROR(Plain(text.substr(position, match.begin - position), position));
      if (match.token >= 0) tokens_.push_back({match.token, match.end});
      SLIMFILL_RETURN_IF_ERROR(CheckLimit());
      position = match.end;
    }
    return absl::OkStatus();
  }

  std::vector<TokenEnd> TakeTokens() { return std::move(tokens_); }

 private:
  // Valid UTF-8, and stray bytes between it. `offset`: of `text` in the caller's text.
  absl::Status Plain(absl::string_view text, size_t offset) {
    for (size_t position = 0; position < text.size();) {
      const absl::string_view valid = text.substr(position, ValidUtf8Prefix(text.substr(position)));
      SLIMFILL_RETURN_IF_ERROR(Valid(valid, offset + position));
      position += valid.size();
      if (position == text.size()) break;
      const size_t stray_end = position + FirstUtf8Char(text.substr(position)).bytes;
      for (; position < stray_end; ++position) {
        const TokenId token = bpe_.byte_token(static_cast<unsigned char>(text[position]));
        if (token >= 0) tokens_.push_back({token, offset + position + 1});
      }
      SLIMFILL_RETURN_IF_ERROR(CheckLimit());
    }
    return absl::OkStatus();
  }

  absl::Status Valid(absl::string_view text, size_t offset) {
    if (!rules_.normalize_nfc) return Words(text, offset);
    const NfcText nfc(text);
    const size_t first = tokens_.size();
    SLIMFILL_RETURN_IF_ERROR(Words(nfc.text(), 0));
    for (size_t i = first; i < tokens_.size(); ++i) tokens_[i].end = offset + nfc.OriginalOffset(tokens_[i].end);
    return absl::OkStatus();
  }

  absl::Status Words(absl::string_view text, size_t offset) {
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = NextWordEnd(rules_, text, begin);
      SLIMFILL_RETURN_IF_ERROR(Word(text.substr(begin, end - begin), offset + begin));
      begin = end;
    }
    return absl::OkStatus();
  }

  absl::Status Word(absl::string_view word, size_t offset) {
    const auto known = words_.find(word);
    if (known != words_.end()) {
      tokens_.push_back({known->second, offset + word.size()});
      return CheckLimit();
    }
    SLIMFILL_RETURN_IF_ERROR(CheckWordLimit(word));
    bpe_.Encode(word, offset, scratch_, tokens_);
    return CheckLimit();
  }

  absl::Status CheckLimit() const {
    if (max_tokens_ <= 0 || static_cast<int64_t>(tokens_.size()) <= max_tokens_) return absl::OkStatus();
    return TooMany();
  }

  // A word's BPE takes memory many times its bytes, so one that cannot fit is not begun: no token is longer than the
  // longest.
  absl::Status CheckWordLimit(absl::string_view word) const {
    if (max_tokens_ <= 0) return absl::OkStatus();
    const size_t left = static_cast<size_t>(max_tokens_) - tokens_.size();
    if (word.size() / vocabulary_.longest_token_bytes() <= left) return absl::OkStatus();
    const auto bytes_with_token = static_cast<size_t>(std::count_if(
        word.begin(), word.end(), [this](char c) { return bpe_.byte_token(static_cast<unsigned char>(c)) >= 0; }));
    return bytes_with_token / vocabulary_.longest_token_bytes() <= left ? absl::OkStatus() : TooMany();
  }

  absl::Status TooMany() const {
    return absl::ResourceExhaustedError(
        absl::StrCat("text has more tokens than the limit of ", max_tokens_, ": shorten it or raise the limit"));
  }

  const Vocabulary& vocabulary_;
  const PreTokenizerRules& rules_;
  const BytePairEncoder& bpe_;
  const absl::flat_hash_map<absl::string_view, TokenId>& words_;
  const int64_t max_tokens_;
  BytePairEncoder::Scratch scratch_;
  std::vector<TokenEnd> tokens_;
};

}  // namespace

Tokenizer::Tokenizer() = default;
Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromGguf(const GgufFile& file) {
  SLIMFILL_ASSIGN_OR_RETURN(const TokenizerData data, ReadTokenizerData(file));
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = FromData(data);
  if (!tokenizer.ok()) {
    return absl::Status(tokenizer.status().code(), absl::StrCat(file.name(), ": ", tokenizer.status().message()));
  }
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromData(const TokenizerData& data) {
  SLIMFILL_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Create(data));
  if (!vocabulary.Contains(data.eos)) {
    return absl::InvalidArgumentError(
        absl::StrCat(data.keys.eos, " is missing or out of range (", data.eos, "): without it no answer would end"));
  }
  if (data.bos != -1 && !vocabulary.Contains(data.bos)) {
    return absl::InvalidArgumentError(
        absl::StrCat(data.keys.bos, " is ", data.bos, ", the vocabulary has ", vocabulary.size(), " tokens"));
  }
  if (data.add_bos && data.bos == -1) {
    return absl::InvalidArgumentError(absl::StrCat(data.keys.add_bos, " is true, but ", data.keys.bos, " is missing"));
  }
  std::unique_ptr<Tokenizer> tokenizer(new Tokenizer);
  tokenizer->impl_ = std::make_unique<Impl>(std::move(vocabulary), data.rules);
  Impl& impl = *tokenizer->impl_;
  impl.bos = data.bos;
  impl.eos = data.eos;
  impl.add_bos = data.add_bos;
  impl.stop_tokens = {data.eos};
  const auto add_stop = [&impl](TokenId token) {
    auto& stops = impl.stop_tokens;
    if (impl.vocabulary.Contains(token) && std::find(stops.begin(), stops.end(), token) == stops.end()) {
      stops.push_back(token);
    }
  };
  for (const TokenId token : data.more_stops) add_stop(token);
  for (absl::string_view text : kEndTokens) add_stop(impl.control_tokens.Lookup(text));
  return tokenizer;
}

absl::StatusOr<std::vector<TokenEnd>> Tokenizer::EncodeWithOffsets(absl::string_view text, bool parse_special,
                                                                   int64_t max_tokens) const {
  Encoding encoding(impl_->vocabulary, impl_->rules, impl_->bpe, impl_->words, max_tokens);
  SLIMFILL_RETURN_IF_ERROR(encoding.Text(text, parse_special ? impl_->added_tokens : impl_->user_defined_tokens));
  return encoding.TakeTokens();
}

absl::StatusOr<std::vector<TokenId>> Tokenizer::Encode(absl::string_view text, bool parse_special,
                                                       int64_t max_tokens) const {
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<TokenEnd> ends, EncodeWithOffsets(text, parse_special, max_tokens));
  std::vector<TokenId> tokens;
  tokens.reserve(ends.size());
  for (const TokenEnd& end : ends) tokens.push_back(end.token);
  return tokens;
}

std::string Tokenizer::Decode(absl::Span<const TokenId> tokens, bool keep_special) const {
  std::string text;
  for (TokenId token : tokens) {
    const absl::string_view bytes = TokenBytes(token, keep_special);
    text.append(bytes.data(), bytes.size());
  }
  return text;
}

absl::string_view Tokenizer::TokenBytes(TokenId token, bool keep_special) const {
  if (!impl_->vocabulary.Contains(token) || (!keep_special && IsSpecial(token))) return "";
  return impl_->vocabulary.bytes(token);
}

int Tokenizer::vocab_size() const { return impl_->vocabulary.size(); }
bool Tokenizer::IsSpecial(TokenId token) const {
  return impl_->vocabulary.Contains(token) && impl_->vocabulary.type(token) == TokenType::kControl;
}
TokenId Tokenizer::bos() const { return impl_->bos; }
TokenId Tokenizer::eos() const { return impl_->eos; }
bool Tokenizer::add_bos() const { return impl_->add_bos; }
const std::vector<TokenId>& Tokenizer::stop_tokens() const { return impl_->stop_tokens; }

absl::StatusOr<TokenId> Tokenizer::SpecialId(absl::string_view text) const {
  const TokenId token = impl_->control_tokens.Lookup(text);
  if (token < 0) return absl::NotFoundError(absl::StrCat("the vocabulary has no control token '", text, "'"));
  return token;
}

}  // namespace slimfill::engine
