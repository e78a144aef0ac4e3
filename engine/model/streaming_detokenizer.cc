#include "engine/model/tokenizer.h"
#include "engine/model/utf8.h"

namespace slimfill::engine {

std::string StreamingDetokenizer::Push(TokenId token) {
  const absl::string_view bytes = tokenizer_.TokenBytes(token);
  pending_.append(bytes.data(), bytes.size());
  return TakeUtf8(pending_, /*last=*/false);
}

std::string StreamingDetokenizer::Flush() { return TakeUtf8(pending_, /*last=*/true); }

}  // namespace slimfill::engine
