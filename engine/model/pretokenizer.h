// Cutting text into the words that BPE works on, one by one. Each vocabulary was trained with its own rule, published
// as a regular expression; the rules here are those expressions, matched by hand: that is linear in the text whatever
// the text is, several times faster than a regex engine, and \s is exactly Unicode's White_Space, as in HF's tokenizers
// (PCRE2 counts U+180E too).
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace slimfill::engine {

enum class PreTokenizerPattern {
  // 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  kGpt2,
  // (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,k}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
  kCl100k,
  // [^\r\n\p{L}\p{N}]?U*W+|[^\r\n\p{L}\p{N}]?U+W*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
  // where U is [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and W is [\p{Ll}\p{Lm}\p{Lo}\p{M}]
  kTekken,
};

// Everything that a name in tokenizer.ggml.pre decides, or normalizer and pre_tokenizer of a tokenizer.json.
struct PreTokenizerRules {
  PreTokenizerPattern pattern = PreTokenizerPattern::kGpt2;
  int max_digits = 1;              // k, in kCl100k
  bool isolated_digits = false;    // every \p{N} is cut out before the pattern sees the text (kGpt2)
  bool normalize_nfc = false;      // text is brought into Unicode form NFC first
  bool whole_word_lookup = false;  // a word that is in the vocabulary is that token, whatever the merges say
};

// qwen2, smollm, gpt-2, llama-bpe or tekken; INVALID_ARGUMENT for another name.
absl::StatusOr<PreTokenizerRules> PreTokenizerRulesFor(absl::string_view name);

// End of the word that begins at `begin` (< text.size()) of valid UTF-8. The words cover the text without gaps.
size_t NextWordEnd(const PreTokenizerRules& rules, absl::string_view text, size_t begin);

}  // namespace slimfill::engine
