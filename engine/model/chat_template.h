// Chat templates: fixed code for the formats we know, never a template language from a file or a client.
//
// ChatML:   <|im_start|>ROLE\nCONTENT<|im_end|>\n ... <|im_start|>assistant\n
// Llama 3:  <|begin_of_text|><|start_header_id|>ROLE<|end_header_id|>\n\nCONTENT<|eot_id|> ... , content trimmed. The
//           knowledge and date lines that Llama 3.1 and later put into the system message are not rendered.
// Tools are not rendered in either. Qwen3's template is read as ChatML: it may think, and what earlier answers thought
// is rendered where a client sends it (HF leaves it out).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model/gguf.h"
#include "engine/model/tokenizer.h"

namespace slimfill::engine {

struct ChatMessage {
  std::string role;  // system, user or assistant
  std::string content;
};

enum class ChatFormat { kChatMl, kLlama3 };

// A rendered conversation. The template's own markers are special tokens; message contents never are.
struct RenderedChat {
  std::vector<TokenId> tokens;
  // Token range [first, second) of each message's content, in the order given (the default system message, where the
  // model's template adds one, is not listed). A token that holds the template's text and the content's beginning
  // counts to the content: text between special tokens is one piece for the tokenizer, as in HF. Pruning pins the
  // question's tokens by these.
  std::vector<std::pair<int64_t, int64_t>> content_ranges;
};

// Immutable and thread safe.
class ChatTemplate {
 public:
  // Recognises the model's tokenizer.chat_template (by its markers) and its default system message, if it has one: the
  // text that the template itself writes where the first message is not of the system.
  // NOT_FOUND when the model has no template, UNIMPLEMENTED when it is of another format, INVALID_ARGUMENT when the
  // vocabulary lacks its markers. `tokenizer` must outlive the template.
  static absl::StatusOr<ChatTemplate> FromGguf(const GgufFile& file, const Tokenizer& tokenizer);
  // The same for a template's source text.
  static absl::StatusOr<ChatTemplate> FromSource(absl::string_view source, const Tokenizer& tokenizer);

  ChatFormat format() const { return format_; }
  const char* name() const;                                              // "chatml" or "llama3"
  const std::string& default_system() const { return default_system_; }  // empty: none is added

  // Renders messages and the opening of the assistant's turn; equal to HF's apply_chat_template(add_generation_prompt).
  // INVALID_ARGUMENT for no messages, an unknown role, or a system message that is not first; RESOURCE_EXHAUSTED past
  // `max_tokens` (0: no limit).
  absl::StatusOr<RenderedChat> Render(absl::Span<const ChatMessage> messages, int64_t max_tokens = 0) const;

 private:
  ChatTemplate(ChatFormat format, std::string default_system, const Tokenizer& tokenizer);
  ChatFormat format_;
  std::string default_system_;
  const Tokenizer* tokenizer_;
};

}  // namespace slimfill::engine
