#include "cli/block_text.h"

#include <limits>

#include "engine/model/utf8.h"

namespace slimfill::cli {

std::vector<std::string> CutText(absl::Span<const absl::string_view> token_bytes, absl::Span<const int64_t> borders) {
  std::string bytes;
  std::vector<size_t> starts;  // of the pieces, in bytes
  for (size_t token = 0; token < token_bytes.size(); ++token) {
    while (starts.size() < borders.size() && borders[starts.size()] <= static_cast<int64_t>(token)) {
      starts.push_back(bytes.size());
    }
    bytes.append(token_bytes[token].data(), token_bytes[token].size());
  }
  starts.resize(borders.size() + 1, std::numeric_limits<size_t>::max());

  std::vector<std::string> pieces(borders.size());
  absl::string_view rest = bytes;
  for (size_t piece = 0; !rest.empty() && !pieces.empty();) {
    const size_t position = bytes.size() - rest.size();
    while (starts[piece + 1] <= position) ++piece;
    const engine::Utf8Char next = engine::FirstUtf8Char(rest);
    const bool valid = next.state == engine::Utf8State::kValid;
    const absl::string_view text = valid ? rest.substr(0, next.bytes) : engine::kReplacementCharacter;
    pieces[piece].append(text.data(), text.size());
    rest.remove_prefix(next.bytes);
  }
  return pieces;
}

}  // namespace slimfill::cli
