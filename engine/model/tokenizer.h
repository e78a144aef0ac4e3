// Byte-level BPE tokenizer (GPT-2 family), from a GGUF file's metadata or a tokenizer.json (hf_tokenizer.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model/bpe.h"
#include "engine/model/gguf.h"
#include "engine/model/vocabulary.h"

namespace slimfill::engine {

// Immutable and thread safe.
class Tokenizer {
 public:
  // Reads tokenizer.ggml.{model,pre,tokens,token_type,merges,bos_token_id,eos_token_id,add_bos_token}. Pre-tokenizers:
  // qwen2, smollm, gpt-2, llama-bpe, tekken. INVALID_ARGUMENT naming what is missing or unsupported.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromGguf(const GgufFile& file);
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromData(const TokenizerData& data);
  ~Tokenizer();

  // Equal to HF's tokenizer of the model. `parse_special`: whether control tokens written out in the text (<|im_end|>)
  // become their ids. Never for text that comes from a user: otherwise a document could end its own turn. User-defined
  // tokens (Qwen's <tool_call>) are found in any text, as HF does: they control nothing and decode to what was written.
  //
  // Any bytes are accepted, invalid UTF-8 too, and Decode gives them back, but for two things that HF does as well:
  // with pre-tokenizer qwen2 (normalizer NFC), text comes back in Unicode form NFC; bytes that the vocabulary has no
  // token for are left out (SmolLM2 has none for 21: six ASCII control characters and bytes that assigned characters do
  // not need).
  //
  // No bos is added. O(n log n). RESOURCE_EXHAUSTED as soon as more than `max_tokens` come out (0: no limit), and for
  // texts above 512 MiB.
  absl::StatusOr<std::vector<TokenId>> Encode(absl::string_view text, bool parse_special, int64_t max_tokens = 0) const;
  // The same with each token's end in `text`, in bytes. A token begins where the one before ended. Inside a stretch
  // that NFC changed, ends are those of the stretch.
  absl::StatusOr<std::vector<TokenEnd>> EncodeWithOffsets(absl::string_view text, bool parse_special,
                                                          int64_t max_tokens = 0) const;

  // The exact bytes of the tokens; special tokens are left out unless `keep_special`.
  std::string Decode(absl::Span<const TokenId> tokens, bool keep_special = false) const;
  // Bytes of one token; empty for specials unless `keep_special`, for unused tokens, and for ids out of range.
  absl::string_view TokenBytes(TokenId token, bool keep_special = false) const;

  int vocab_size() const;
  bool IsSpecial(TokenId token) const;  // control tokens
  TokenId bos() const;                  // -1 when none
  TokenId eos() const;
  bool add_bos() const;
  // Ids that end a generation: eos, others that the model names, and the end-of-turn tokens the vocabulary has
  // (<|im_end|>, <|eot_id|>, <|endoftext|>, ...).
  const std::vector<TokenId>& stop_tokens() const;
  absl::StatusOr<TokenId> SpecialId(absl::string_view text) const;  // of a control token; NOT_FOUND

 private:
  Tokenizer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Turns a stream of tokens into text deltas that are each valid UTF-8: bytes of an unfinished character wait for the
// next token; bytes that cannot become a character come out as U+FFFD. One per request; not thread safe.
class StreamingDetokenizer {
 public:
  explicit StreamingDetokenizer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string Push(TokenId token);
  std::string Flush();  // whatever still waits, made valid

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;
};

}  // namespace slimfill::engine
