#include "engine/model/chat_template.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <initializer_list>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/model/utf8.h"

namespace slimfill::engine {
namespace {

// Whether the vocabulary has all of a format's markers as control tokens.
absl::Status CheckMarkers(const Tokenizer& tokenizer, std::initializer_list<absl::string_view> markers) {
  for (absl::string_view marker : markers) {
    if (!tokenizer.SpecialId(marker).ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the chat template uses '", marker, "', which the vocabulary does not have as a control token"));
    }
  }
  return absl::OkStatus();
}

// The string literal of the template's source that is open at `position` up to `end_marker`, unescaped; false when the
// literal, opened with `quote`, ends before it.
bool ReadLiteralUpTo(absl::string_view source, size_t position, char quote, absl::string_view end_marker,
                     std::string& out) {
  out.clear();
  for (; position < source.size(); ++position) {
    if (absl::StartsWith(source.substr(position), end_marker)) return true;
    char c = source[position];
    if (c == quote) return false;
    if (c == '\\' && position + 1 < source.size()) {
      c = source[++position];
      if (c == 'n') c = '\n';
      if (c == 't') c = '\t';
    }
    out.push_back(c);
  }
  return false;
}

// ChatML templates write their default system message as one literal: '<|im_start|>system\nTEXT<|im_end|>...'. Where a
// literal ends after "system\n", a message's own content follows.
std::string FindDefaultSystem(absl::string_view source) {
  constexpr absl::string_view kOpening = "<|im_start|>system";
  for (size_t found = source.find(kOpening); found != absl::string_view::npos;
       found = source.find(kOpening, found + kOpening.size())) {
    if (found == 0 || (source[found - 1] != '\'' && source[found - 1] != '"')) continue;
    std::string text;
    if (!ReadLiteralUpTo(source, found + kOpening.size(), source[found - 1], "<|im_end|>", text)) continue;
    if (text.size() > 1 && text[0] == '\n') return text.substr(1);
  }
  return "";
}

bool IsPythonSpace(char32_t code_point) {
  return u_isUWhiteSpace(static_cast<UChar32>(code_point)) || (code_point >= 0x1C && code_point <= 0x1F);
}

// What Jinja's trim filter does, which is Python's str.strip. Bytes that are not UTF-8 are not white space.
absl::string_view Trim(absl::string_view text) {
  size_t first = text.size(), last = 0;
  for (size_t position = 0; position < text.size();) {
    const Utf8Char c = FirstUtf8Char(text.substr(position));
    const size_t end = position + c.bytes;
    if (c.state != Utf8State::kValid || !IsPythonSpace(c.code_point)) {
      first = std::min(first, position);
      last = end;
    }
    position = end;
  }
  return last == 0 ? "" : text.substr(first, last - first);
}

// Collects a conversation's tokens. Text between two special tokens is tokenized as one piece, because words may cross
// from the template's text into the content ("user\n" and a content that begins with a newline).
class Renderer {
 public:
  Renderer(const Tokenizer& tokenizer, int64_t max_tokens) : tokenizer_(tokenizer), max_tokens_(max_tokens) {}

  absl::Status Special(absl::string_view marker) {
    SLIMFILL_RETURN_IF_ERROR(EndPiece());
    SLIMFILL_ASSIGN_OR_RETURN(const TokenId token, tokenizer_.SpecialId(marker));
    if (Left() == 0) return TooMany();
    chat_.tokens.push_back(token);
    return absl::OkStatus();
  }

  void Text(absl::string_view text) { piece_.append(text.data(), text.size()); }

  // The content of a message; to be followed by a special token.
  void Content(absl::string_view content) {
    content_begin_ = piece_.size();
    has_content_ = true;
    Text(content);
  }

  absl::StatusOr<RenderedChat> Finish() {
    SLIMFILL_RETURN_IF_ERROR(EndPiece());
    return std::move(chat_);
  }

 private:
  absl::Status EndPiece() {
    const auto begin = static_cast<int64_t>(chat_.tokens.size());
    int64_t content_first = begin;
    if (!piece_.empty()) {
      if (Left() == 0) return TooMany();
      absl::StatusOr<std::vector<TokenEnd>> tokens =
          tokenizer_.EncodeWithOffsets(piece_, /*parse_special=*/false, max_tokens_ > 0 ? Left() : 0);
      if (absl::IsResourceExhausted(tokens.status()) && max_tokens_ > 0) return TooMany();
      if (!tokens.ok()) return tokens.status();
      for (const TokenEnd& token : *tokens) {
        chat_.tokens.push_back(token.token);
        content_first += token.end <= content_begin_;
      }
    }
    if (has_content_) chat_.content_ranges.emplace_back(content_first, static_cast<int64_t>(chat_.tokens.size()));
    has_content_ = false;
    content_begin_ = 0;
    piece_.clear();
    return absl::OkStatus();
  }

  int64_t Left() const {
    return max_tokens_ > 0 ? max_tokens_ - static_cast<int64_t>(chat_.tokens.size())
                           : std::numeric_limits<int64_t>::max();
  }
  absl::Status TooMany() const {
    return absl::ResourceExhaustedError(absl::StrCat("the conversation has more tokens than the limit of ", max_tokens_,
                                                     ": shorten it or raise the limit"));
  }

  const Tokenizer& tokenizer_;
  const int64_t max_tokens_;
  std::string piece_;
  size_t content_begin_ = 0;
  bool has_content_ = false;
  RenderedChat chat_;
};

absl::Status CheckMessages(absl::Span<const ChatMessage> messages) {
  if (messages.empty()) return absl::InvalidArgumentError("the conversation has no messages, at least 1 is needed");
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string& role = messages[i].role;
    if (role != "system" && role != "user" && role != "assistant") {
      return absl::InvalidArgumentError(
          absl::StrCat("message ", i, " has an unknown role; allowed are system, user and assistant"));
    }
    if (role == "system" && i > 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("message ", i, " is of role system; a system message is allowed as the first one only"));
    }
  }
  return absl::OkStatus();
}

absl::Status RenderChatMl(absl::Span<const ChatMessage> messages, const std::string& default_system,
                          Renderer& renderer) {
  const auto open = [&renderer](absl::string_view role) {
    SLIMFILL_RETURN_IF_ERROR(renderer.Special("<|im_start|>"));
    renderer.Text(role);
    renderer.Text("\n");
    return absl::OkStatus();
  };
  const auto close = [&renderer] {
    SLIMFILL_RETURN_IF_ERROR(renderer.Special("<|im_end|>"));
    renderer.Text("\n");
    return absl::OkStatus();
  };
  if (!default_system.empty() && messages[0].role != "system") {
    SLIMFILL_RETURN_IF_ERROR(open("system"));
    renderer.Text(default_system);
    SLIMFILL_RETURN_IF_ERROR(close());
  }
  for (const ChatMessage& message : messages) {
    SLIMFILL_RETURN_IF_ERROR(open(message.role));
    renderer.Content(message.content);
    SLIMFILL_RETURN_IF_ERROR(close());
  }
  return open("assistant");
}

absl::Status RenderLlama3(absl::Span<const ChatMessage> messages, Renderer& renderer) {
  const auto open = [&renderer](absl::string_view role) {
    SLIMFILL_RETURN_IF_ERROR(renderer.Special("<|start_header_id|>"));
    renderer.Text(role);
    SLIMFILL_RETURN_IF_ERROR(renderer.Special("<|end_header_id|>"));
    renderer.Text("\n\n");
    return absl::OkStatus();
  };
  SLIMFILL_RETURN_IF_ERROR(renderer.Special("<|begin_of_text|>"));
  for (const ChatMessage& message : messages) {
    SLIMFILL_RETURN_IF_ERROR(open(message.role));
    renderer.Content(Trim(message.content));
    SLIMFILL_RETURN_IF_ERROR(renderer.Special("<|eot_id|>"));
  }
  return open("assistant");
}

}  // namespace

ChatTemplate::ChatTemplate(ChatFormat format, std::string default_system, const Tokenizer& tokenizer)
    : format_(format), default_system_(std::move(default_system)), tokenizer_(&tokenizer) {}

absl::StatusOr<ChatTemplate> ChatTemplate::FromGguf(const GgufFile& file, const Tokenizer& tokenizer) {
  SLIMFILL_ASSIGN_OR_RETURN(const std::string source, file.GetString("tokenizer.chat_template"));
  absl::StatusOr<ChatTemplate> chat_template = FromSource(source, tokenizer);
  if (!chat_template.ok()) {
    return absl::Status(chat_template.status().code(),
                        absl::StrCat(file.name(), ": ", chat_template.status().message()));
  }
  return chat_template;
}

absl::StatusOr<ChatTemplate> ChatTemplate::FromSource(absl::string_view source, const Tokenizer& tokenizer) {
  const auto has = [source](absl::string_view marker) { return absl::StrContains(source, marker); };
  // Phi-4 writes ChatML's first and last marker around another separator.
  if (has("<|im_start|>") && has("<|im_end|>") && !has("<|im_sep|>")) {
    SLIMFILL_RETURN_IF_ERROR(CheckMarkers(tokenizer, {"<|im_start|>", "<|im_end|>"}));
    return ChatTemplate(ChatFormat::kChatMl, FindDefaultSystem(source), tokenizer);
  }
  if (has("<|start_header_id|>") && has("<|end_header_id|>") && has("<|eot_id|>")) {
    SLIMFILL_RETURN_IF_ERROR(
        CheckMarkers(tokenizer, {"<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}));
    return ChatTemplate(ChatFormat::kLlama3, "", tokenizer);
  }
  return absl::UnimplementedError("the chat template is of an unknown format; supported are ChatML and Llama 3");
}

const char* ChatTemplate::name() const { return format_ == ChatFormat::kChatMl ? "chatml" : "llama3"; }

absl::StatusOr<RenderedChat> ChatTemplate::Render(absl::Span<const ChatMessage> messages, int64_t max_tokens) const {
  SLIMFILL_RETURN_IF_ERROR(CheckMessages(messages));
  Renderer renderer(*tokenizer_, max_tokens);
  SLIMFILL_RETURN_IF_ERROR(format_ == ChatFormat::kChatMl ? RenderChatMl(messages, default_system_, renderer)
                                                          : RenderLlama3(messages, renderer));
  return renderer.Finish();
}

}  // namespace slimfill::engine
