#include "engine/sampling/output_stream.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "base/status.h"

namespace slimfill::engine {
namespace {

struct StopMatch {
  size_t begin, end;
};

// The stop string that is complete first in `text`, of several the longest; npos when there is none.
StopMatch FindStop(absl::string_view text, const std::vector<std::string>& stops) {
  StopMatch first{absl::string_view::npos, absl::string_view::npos};
  for (const std::string& stop : stops) {
    const size_t begin = text.find(stop);
    if (begin == absl::string_view::npos) continue;
    const size_t end = begin + stop.size();
    if (end < first.end || (end == first.end && begin < first.begin)) first = {begin, end};
  }
  return first;
}

// Bytes at the end of `text` that may be the beginning of a stop string.
size_t PossibleStopBytes(absl::string_view text, const std::vector<std::string>& stops) {
  size_t longest = 0;
  for (const std::string& stop : stops) {
    for (size_t bytes = std::min(text.size(), stop.size() - 1); bytes > longest; --bytes) {
      if (absl::EndsWith(text, absl::string_view(stop).substr(0, bytes))) longest = bytes;
    }
  }
  return longest;
}

}  // namespace

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return "none";
    case FinishReason::kStop:
    case FinishReason::kStopString:
      return "stop";
    case FinishReason::kLength:
    case FinishReason::kContextFull:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

OutputStream::OutputStream(const Tokenizer& tokenizer, const SamplingParams& params)
    : tokenizer_(tokenizer), params_(params), detokenizer_(tokenizer) {}

bool OutputStream::IsStopToken(TokenId token) const {
  const auto contains = [token](const std::vector<TokenId>& tokens) {
    return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
  };
  return contains(params_.stop_token_ids) || (!params_.ignore_eos && contains(tokenizer_.stop_tokens()));
}

std::string OutputStream::Advance(const std::string& delta, bool last, bool& stopped) {
  held_ += delta;
  const StopMatch stop = FindStop(held_, params_.stop);
  stopped = stop.end != absl::string_view::npos;
  size_t out_bytes = held_.size();
  if (stopped) {
    out_bytes = stop.begin;
  } else if (!last) {
    out_bytes -= PossibleStopBytes(held_, params_.stop);
  }
  std::string out = held_.substr(0, out_bytes);
  held_.erase(0, stopped ? held_.size() : out_bytes);
  return out;
}

OutputStream::Piece OutputStream::Push(TokenId token) {
  SLIMFILL_CHECK(!finished_);
  ++tokens_;
  Piece piece;
  std::string delta;
  if (IsStopToken(token)) {
    piece.finish = FinishReason::kStop;
  } else {
    delta = detokenizer_.Push(token);
    if (tokens_ >= params_.max_tokens) piece.finish = FinishReason::kLength;
  }
  const bool last = piece.finish != FinishReason::kNone;
  if (last) delta += detokenizer_.Flush();
  bool stopped;
  piece.text = Advance(delta, last, stopped);
  if (stopped && piece.finish != FinishReason::kStop) piece.finish = FinishReason::kStopString;
  finished_ = piece.finish != FinishReason::kNone;
  return piece;
}

std::string OutputStream::Flush() {
  finished_ = true;
  bool stopped;
  return Advance(detokenizer_.Flush(), /*last=*/true, stopped);
}

}  // namespace slimfill::engine
