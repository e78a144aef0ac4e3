#include "engine/model/vocabulary.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/model/byte_encoding.h"

namespace slimfill::engine {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 24;

absl::StatusOr<TokenType> ParseType(int64_t type) {
  switch (type) {
    case 1:
      return TokenType::kNormal;
    case 2:
    case 3:
      return TokenType::kControl;
    case 4:
      return TokenType::kUserDefined;
    case 5:
      return TokenType::kUnused;
    default:
      return absl::InvalidArgumentError(absl::StrCat(
          "type ", type, "; allowed are 1 (normal), 2 (unknown), 3 (control), 4 (user defined) and 5 (unused)"));
  }
}

std::string Quoted(absl::string_view text) {
  return absl::StrCat("'", absl::Utf8SafeCEscape(text.substr(0, 100)), "'");
}

// The value of `key`, or -1 when it is absent.
absl::StatusOr<TokenId> OptionalTokenId(const GgufFile& file, absl::string_view key, size_t tokens) {
  const absl::StatusOr<int64_t> id = file.GetInt(key);
  if (absl::IsNotFound(id.status())) return -1;
  if (!id.ok()) return id.status();
  if (*id < 0 || *id >= static_cast<int64_t>(tokens)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.name(), ": ", key, " is ", *id, ", the vocabulary has ", tokens, " tokens"));
  }
  return static_cast<TokenId>(*id);
}

// An absent key is as wrong as one of another type.
template <typename T>
absl::StatusOr<T> Required(absl::StatusOr<T> value) {
  if (absl::IsNotFound(value.status())) return absl::InvalidArgumentError(value.status().message());
  return value;
}

}  // namespace

absl::StatusOr<TokenizerData> ReadTokenizerData(const GgufFile& file) {
  SLIMFILL_ASSIGN_OR_RETURN(const std::string model, Required(file.GetString("tokenizer.ggml.model")));
  if (model != "gpt2") {
    return absl::InvalidArgumentError(absl::StrCat(file.name(), ": tokenizer.ggml.model is ", Quoted(model),
                                                   ", supported is 'gpt2' (byte-level BPE)"));
  }
  TokenizerData data;
  SLIMFILL_ASSIGN_OR_RETURN(const std::string pre, Required(file.GetString("tokenizer.ggml.pre")));
  const absl::StatusOr<PreTokenizerRules> rules = PreTokenizerRulesFor(pre);
  if (!rules.ok()) return absl::InvalidArgumentError(absl::StrCat(file.name(), ": ", rules.status().message()));
  data.rules = *rules;
  SLIMFILL_ASSIGN_OR_RETURN(const auto* tokens, Required(file.GetStrings("tokenizer.ggml.tokens")));
  SLIMFILL_ASSIGN_OR_RETURN(const auto* types, Required(file.GetInts("tokenizer.ggml.token_type")));
  SLIMFILL_ASSIGN_OR_RETURN(const auto* merges, Required(file.GetStrings("tokenizer.ggml.merges")));
  data.tokens = *tokens;
  data.token_types = *types;
  data.merges = *merges;
  SLIMFILL_ASSIGN_OR_RETURN(data.eos, OptionalTokenId(file, "tokenizer.ggml.eos_token_id", tokens->size()));
  SLIMFILL_ASSIGN_OR_RETURN(data.bos, OptionalTokenId(file, "tokenizer.ggml.bos_token_id", tokens->size()));
  const absl::StatusOr<bool> add_bos = file.GetBool("tokenizer.ggml.add_bos_token");
  if (add_bos.ok()) {
    data.add_bos = *add_bos;
  } else if (absl::IsNotFound(add_bos.status())) {
    data.add_bos = pre == "llama-bpe" || pre == "tekken";  // these files leave it out and mean it
  } else {
    return add_bos.status();
  }
  return data;
}

absl::StatusOr<Vocabulary> Vocabulary::Create(const TokenizerData& data) {
  Vocabulary vocabulary;
  SLIMFILL_RETURN_IF_ERROR(vocabulary.AddTokens(data));
  SLIMFILL_RETURN_IF_ERROR(vocabulary.AddMerges(data));
  return vocabulary;
}

absl::Status Vocabulary::AddTokens(const TokenizerData& data) {
  const size_t count = data.tokens.size();
  if (count == 0 || count > kMaxTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(data.keys.tokens, " has ", count, " tokens, allowed are 1 to ", kMaxTokens));
  }
  if (data.token_types.size() != count) {
    return absl::InvalidArgumentError(
        absl::StrCat(data.keys.token_types, " has ", data.token_types.size(), " entries for ", count, " tokens"));
  }
  types_.reserve(count);
  bytes_.reserve(count);
  byte_tokens_.assign(256, -1);
  for (size_t id = 0; id < count; ++id) {
    const auto error = [&](absl::string_view what) {
      return absl::InvalidArgumentError(
          absl::StrCat(data.keys.tokens, ": token ", id, " ", Quoted(data.tokens[id]), ": ", what));
    };
    const absl::StatusOr<TokenType> type = ParseType(data.token_types[id]);
    if (!type.ok()) return error(type.status().message());
    std::string bytes;
    if (*type == TokenType::kNormal) {
      absl::StatusOr<std::string> decoded = DecodeByteCharacters(data.tokens[id]);
      if (!decoded.ok()) return error(decoded.status().message());
      bytes = *std::move(decoded);
      if (bytes.size() == 1) byte_tokens_[static_cast<unsigned char>(bytes[0])] = static_cast<TokenId>(id);
    } else if (*type != TokenType::kUnused) {
      bytes = data.tokens[id];
    }
    if (bytes.empty() && *type != TokenType::kUnused) return error("it is empty");
    longest_token_bytes_ = std::max(longest_token_bytes_, bytes.size());
    types_.push_back(*type);
    bytes_.push_back(std::move(bytes));
  }
  return absl::OkStatus();
}

absl::Status Vocabulary::AddMerges(const TokenizerData& data) {
  absl::flat_hash_map<absl::string_view, TokenId> by_text;
  by_text.reserve(data.tokens.size());
  for (TokenId id = 0; id < size(); ++id) {
    const auto [entry, is_new] = by_text.try_emplace(data.tokens[id], id);
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat(data.keys.tokens, ": tokens ", entry->second, " and ", id,
                                                     " are both ", Quoted(data.tokens[id])));
    }
  }
  const auto normal_token = [&](absl::string_view text) -> TokenId {
    const auto entry = by_text.find(text);
    return entry != by_text.end() && type(entry->second) == TokenType::kNormal ? entry->second : -1;
  };
  merges_.reserve(data.merges.size());
  std::string joined;
  for (size_t rank = 0; rank < data.merges.size(); ++rank) {
    const absl::string_view merge = data.merges[rank];
    const size_t space = merge.find(' ');
    const absl::string_view left = merge.substr(0, space);
    const absl::string_view right = space == absl::string_view::npos ? "" : merge.substr(space + 1);
    joined.assign(left.data(), left.size());
    joined.append(right.data(), right.size());
    const BytePairEncoder::Merge tokens{normal_token(left), normal_token(right), normal_token(joined)};
    if (tokens.left < 0 || tokens.right < 0 || tokens.result < 0) {
      return absl::InvalidArgumentError(absl::StrCat(data.keys.merges, ": merge ", rank, " ", Quoted(merge),
                                                     " is not two normal tokens that make a third"));
    }
    merges_.push_back(tokens);
  }
  return absl::OkStatus();
}

}  // namespace slimfill::engine
