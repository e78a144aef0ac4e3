#include "engine/model/sha256.h"

#include <openssl/evp.h>

#include "absl/strings/escaping.h"
#include "base/status.h"

namespace slimfill::engine {

std::string Sha256HexOf(absl::Span<const std::byte> bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int digest_bytes = 0;
  SLIMFILL_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest, &digest_bytes, EVP_sha256(), nullptr) == 1);
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest), digest_bytes});
}

}  // namespace slimfill::engine
