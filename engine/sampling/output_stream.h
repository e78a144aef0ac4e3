// From token ids to the text a client sees: detokenisation, stop tokens, stop strings, the token limit.
#pragma once

#include <string>

#include "engine/model/tokenizer.h"
#include "engine/sampling/sampler.h"

namespace slimfill::engine {

enum class FinishReason { kNone, kStop, kStopString, kLength, kContextFull, kCancelled };
const char* FinishReasonName(
    FinishReason reason);  // "stop" for kStop and kStopString, "length" for kLength and kContextFull

// One per request; not thread safe. Text that could be the beginning of a stop string is held back until it cannot.
// Of the stop strings the one that is complete first ends the output, of several the longest; so the output does not
// depend on how the text is cut into tokens. The last of max_tokens tokens finishes with kStop or kStopString where it
// is or completes one.
class OutputStream {
 public:
  OutputStream(const Tokenizer& tokenizer, const SamplingParams& params);
  struct Piece {
    std::string text;  // valid UTF-8, may be empty
    FinishReason finish = FinishReason::kNone;
  };
  // After a piece with a finish reason no more tokens may be pushed. A stop token's own text is not part of the output.
  Piece Push(TokenId token);
  std::string Flush();                        // what was held back, when generation ends for another reason
  int64_t tokens() const { return tokens_; }  // tokens pushed, stop token included

 private:
  bool IsStopToken(TokenId token) const;
  // Adds to what is held and takes from it what may go out: all up to a stop string, or when `last`.
  std::string Advance(const std::string& delta, bool last, bool& stopped);

  const Tokenizer& tokenizer_;
  const SamplingParams params_;
  StreamingDetokenizer detokenizer_;
  std::string held_;
  int64_t tokens_ = 0;
  bool finished_ = false;
};

}  // namespace slimfill::engine
