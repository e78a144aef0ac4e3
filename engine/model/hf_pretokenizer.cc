#include "engine/model/hf_pretokenizer.h"

#include <optional>
#include <utility>

#include "base/status.h"

namespace slimfill::engine {
namespace {

// The published expressions, letter for letter; pretokenizer.h matches them by hand.
constexpr absl::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr absl::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr absl::string_view kTekken = R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)"
                                      R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|)"
                                      R"(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr char kRemedy[] =
    "; supported are the pre-tokenizers of GPT-2, SmolLM2, Qwen2, Llama 3 and Tekken, with the normalizer NFC or none: "
    "use "
    "such "
    "a model, or a GGUF file of this one";

absl::Status Unknown(const JsonObject& piece, absl::string_view what) { return piece.Invalid(what, kRemedy); }

// Whether a ByteLevel piece cuts by GPT-2's expression (or only turns bytes into characters).
absl::StatusOr<bool> ByteLevelCuts(const JsonObject& piece) {
  SLIMFILL_ASSIGN_OR_RETURN(const bool prefix_space, piece.BoolOr("add_prefix_space", true));
  if (prefix_space) return Unknown(piece, "the pre-tokenizer ByteLevel has add_prefix_space");
  return piece.BoolOr("use_regex", true);
}

absl::StatusOr<PreTokenizerRules> RulesOfSplit(const JsonObject& split) {
  SLIMFILL_ASSIGN_OR_RETURN(const JsonObject pattern, split.Object("pattern"));
  SLIMFILL_ASSIGN_OR_RETURN(const std::string expression, pattern.StringOr("Regex", ""));
  SLIMFILL_ASSIGN_OR_RETURN(const std::string behavior, split.StringOr("behavior", ""));
  SLIMFILL_ASSIGN_OR_RETURN(const bool invert, split.BoolOr("invert", false));
  PreTokenizerRules rules{.pattern = PreTokenizerPattern::kCl100k};
  if (expression == kLlama3) rules.max_digits = 3;
  if (expression == kTekken) rules.pattern = PreTokenizerPattern::kTekken;
  const bool known = expression == kQwen2 || expression == kLlama3 || expression == kTekken;
  if (!known || behavior != "Isolated" || invert) {
    return Unknown(split, absl::StrCat("the pre-tokenizer splits by ", QuotedForError(absl::string_view(expression)),
                                       " (", behavior, invert ? ", inverted)" : ")"));
  }
  return rules;
}

// Of the piece before ByteLevel.
absl::StatusOr<PreTokenizerRules> RulesOfFirst(const JsonObject& piece, bool byte_level_cuts) {
  SLIMFILL_ASSIGN_OR_RETURN(const std::string type, piece.String("type"));
  if (type == "Split" && !byte_level_cuts) return RulesOfSplit(piece);
  SLIMFILL_ASSIGN_OR_RETURN(const bool each_digit, piece.BoolOr("individual_digits", false));
  if (type == "Digits" && each_digit && byte_level_cuts) return PreTokenizerRules{.isolated_digits = true};
  return Unknown(piece, absl::StrCat("the pre-tokenizer ", QuotedForError(absl::string_view(type)),
                                     " is not supported in this form"));
}

absl::StatusOr<bool> IsNfc(const JsonObject& tokenizer) {
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<JsonObject> pieces, PiecesOf(tokenizer, "normalizer", "normalizers"));
  for (const JsonObject& piece : pieces) {
    SLIMFILL_ASSIGN_OR_RETURN(const std::string type, piece.String("type"));
    if (type != "NFC") {
      return Unknown(piece,
                     absl::StrCat("the normalizer ", QuotedForError(absl::string_view(type)), " is not supported"));
    }
  }
  return !pieces.empty();
}

}  // namespace

absl::StatusOr<std::vector<JsonObject>> PiecesOf(const JsonObject& parent, const std::string& key,
                                                 const std::string& list) {
  std::vector<JsonObject> pieces;
  if (!parent.Has(key)) return pieces;
  SLIMFILL_ASSIGN_OR_RETURN(const JsonObject piece, parent.Object(key));
  SLIMFILL_ASSIGN_OR_RETURN(const std::string type, piece.String("type"));
  if (type != "Sequence") {
    pieces.push_back(piece);
    return pieces;
  }
  const nlohmann::json* members = piece.Find(list);
  if (members == nullptr || !members->is_array()) return piece.Invalid(piece.Name(list), " is not a list");
  for (const nlohmann::json& member : *members) {
    if (!member.is_object()) return piece.Invalid(piece.Name(list), " has an entry that is not an object");
    pieces.emplace_back(member, piece.file(), absl::StrCat(key, "."));
  }
  return pieces;
}

absl::StatusOr<PreTokenizerRules> RecognisePreTokenizer(const JsonObject& tokenizer) {
  SLIMFILL_ASSIGN_OR_RETURN(const bool nfc, IsNfc(tokenizer));
  SLIMFILL_ASSIGN_OR_RETURN(const std::vector<JsonObject> pieces,
                            PiecesOf(tokenizer, "pre_tokenizer", "pretokenizers"));
  if (pieces.empty() || pieces.size() > 2) {
    return Unknown(tokenizer, absl::StrCat("the pre-tokenizer has ", pieces.size(), " parts"));
  }
  SLIMFILL_ASSIGN_OR_RETURN(const std::string last, pieces.back().String("type"));
  if (last != "ByteLevel") {
    return Unknown(tokenizer, absl::StrCat("the pre-tokenizer ends in ", QuotedForError(absl::string_view(last)),
                                           " and not in \"ByteLevel\""));
  }
  SLIMFILL_ASSIGN_OR_RETURN(const bool byte_level_cuts, ByteLevelCuts(pieces.back()));
  PreTokenizerRules rules;
  if (pieces.size() == 2) {
    SLIMFILL_ASSIGN_OR_RETURN(rules, RulesOfFirst(pieces.front(), byte_level_cuts));
  } else if (!byte_level_cuts) {
    return Unknown(tokenizer, "the pre-tokenizer does not cut the text");
  }
  rules.normalize_nfc = nfc;
  return rules;
}

}  // namespace slimfill::engine
