#include "kvstore/api/block_key.h"

#include "absl/strings/escaping.h"
#include "base/status.h"
#include "openssl/rand.h"
#include "openssl/sha.h"

namespace slimfill::kvstore {
namespace {

template <typename T>
void AppendLittleEndian(T value, std::string* out) {
  for (size_t byte = 0; byte < sizeof(T); ++byte) out->push_back(static_cast<char>((value >> (8 * byte)) & 0xff));
}

void AppendKey(const BlockKey& key, std::string* out) {
  out->append(reinterpret_cast<const char*>(key.bytes.data()), key.bytes.size());
}

BlockKey Sha256(const std::string& message) {
  static_assert(sizeof(BlockKey::bytes) == SHA256_DIGEST_LENGTH);
  BlockKey key;
  SHA256(reinterpret_cast<const unsigned char*>(message.data()), message.size(), key.bytes.data());
  return key;
}

}  // namespace

BlockKey ChainRoot(absl::string_view description, absl::string_view tenant_salt) {
  std::string message;
  for (absl::string_view part : {description, tenant_salt}) {
    AppendLittleEndian<uint64_t>(part.size(), &message);
    message.append(part.data(), part.size());
  }
  return Sha256(message);
}

uint64_t TenantNumber(absl::string_view tenant_salt) {
  if (tenant_salt.empty()) return 0;
  const BlockKey digest = ChainRoot("tenant number", tenant_salt);
  uint64_t number = 0;
  std::memcpy(&number, digest.bytes.data(), sizeof(number));
  return number == 0 ? 1 : number;
}

BlockKey ChainNext(const BlockKey& parent, absl::Span<const int32_t> tokens) {
  std::string message;
  message.reserve(sizeof(parent.bytes) + tokens.size() * sizeof(int32_t));
  AppendKey(parent, &message);
  for (int32_t token : tokens) AppendLittleEndian(static_cast<uint32_t>(token), &message);
  return Sha256(message);
}

std::vector<BlockKey> ChainKeys(const BlockKey& root, absl::Span<const int32_t> tokens, int block_tokens) {
  SLIMFILL_CHECK(block_tokens > 0);
  const size_t blocks = tokens.size() / block_tokens;
  std::vector<BlockKey> keys;
  keys.reserve(blocks);
  for (size_t block = 0; block < blocks; ++block) {
    keys.push_back(ChainNext(block == 0 ? root : keys.back(), tokens.subspan(block * block_tokens, block_tokens)));
  }
  return keys;
}

BlockKey UpperLayersKey(const BlockKey& block) {
  std::string message;
  AppendKey(block, &message);
  message.append("upper layers");
  return Sha256(message);
}

BlockKey PrivateKey(const BlockKey& nonce, uint32_t layer, uint32_t block) {
  std::string message;
  AppendKey(nonce, &message);
  AppendLittleEndian(layer, &message);
  AppendLittleEndian(block, &message);
  return Sha256(message);
}

BlockKey RandomKey() {
  BlockKey key;
  SLIMFILL_CHECK(RAND_bytes(key.bytes.data(), static_cast<int>(key.bytes.size())) == 1);
  return key;
}

uint64_t RandomNumber() {
  uint64_t number = 0;
  SLIMFILL_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(&number), sizeof(number)) == 1);
  return number;
}

std::string ToHex(const BlockKey& key) {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(key.bytes.data()), key.bytes.size()));
}

}  // namespace slimfill::kvstore
