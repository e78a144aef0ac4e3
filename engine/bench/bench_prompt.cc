#include "engine/bench/bench_prompt.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill::engine {
namespace {

constexpr int64_t kMinTokens = 256;
constexpr int64_t kSpareTokens = 64;  // decoded text may encode to fewer tokens where it was cut
constexpr char kFact[] = "\n\nThe access code of the north gate is 736152.\n\n";
constexpr char kQuestion[] = "\n\nWhat is the access code of the north gate?";
constexpr char kNextQuestion[] = "Which gate has the access code 736152?";

}  // namespace

absl::StatusOr<BenchPrompt> MakeBenchPrompt(const Engine& engine, const std::string& document, int64_t tokens,
                                            double depth, int question) {
  if (tokens < kMinTokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("the prompt is to have ", tokens, " tokens: give at least ", kMinTokens));
  }
  if (document.empty()) return absl::InvalidArgumentError("the document is empty: give one with text");
  if (engine.chat_template() == nullptr) {
    return absl::InvalidArgumentError("the model has no chat template: benchmark one that has");
  }
  const int64_t wanted = tokens + kSpareTokens;
  std::vector<TokenId> ids;
  for (std::string text = document; static_cast<int64_t>(ids.size()) < wanted; text += text) {
    SLIMFILL_ASSIGN_OR_RETURN(ids, engine.tokenizer().Encode(text, false));
  }
  const absl::Span<const TokenId> body = absl::MakeConstSpan(ids).first(wanted);
  const int64_t cut = static_cast<int64_t>(std::clamp(depth, 0.0, 1.0) * static_cast<double>(wanted));
  const std::string text =
      absl::StrCat(engine.tokenizer().Decode(body.first(cut)), kFact, engine.tokenizer().Decode(body.subspan(cut)));
  const auto ask = [&](const std::string& asked) -> absl::StatusOr<BenchPrompt> {
    SLIMFILL_ASSIGN_OR_RETURN(const RenderedChat chat,
                              engine.chat_template()->Render({{"user", absl::StrCat(text, asked)}}));
    return BenchPrompt{chat.tokens, chat.content_ranges.back()};
  };
  SLIMFILL_ASSIGN_OR_RETURN(BenchPrompt prompt, ask(kQuestion));
  const int64_t surplus = static_cast<int64_t>(prompt.tokens.size()) - tokens;
  if (question > 0) {
    SLIMFILL_ASSIGN_OR_RETURN(prompt, ask(absl::StrCat("\n\nQuestion ", question + 1, ": ", kNextQuestion)));
  }
  if (surplus < 0) return absl::InternalError(absl::StrCat("the prompt is ", -surplus, " tokens short"));
  // The document's beginning makes way; template, fact and question stay whole.
  const auto begin = prompt.tokens.begin() + prompt.content.first;
  prompt.tokens.erase(begin, begin + surplus);
  prompt.content.second -= surplus;
  return prompt;
}

}  // namespace slimfill::engine
