#include "kvstore/l2/sealed_value.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvstore/api/block_key.h"
#include "kvstore/api/checksum.h"
#include "openssl/evp.h"
#include "openssl/rand.h"
#include "openssl/sha.h"

namespace slimfill::kvstore {
namespace {

constexpr char kMagic[] = "SLKV";
constexpr uint32_t kVersion = 1;

// Offsets of the header's fields.
constexpr size_t kVersionAt = 4, kKeyIdAt = 8, kBytesAt = 16, kWriteIdAt = 24, kTenantAt = 32, kParentAt = 40,
                 kChunkAt = 72, kPayloadAt = 76, kNonceAt = 80, kTagAt = 92;
constexpr size_t kNonceBytes = 12, kTagBytes = 16;
static_assert(kTagAt + kTagBytes == kChunkHeaderBytes);

template <typename T>
void Store(T value, std::byte* to) {
  for (size_t byte = 0; byte < sizeof(T); ++byte) to[byte] = static_cast<std::byte>(value >> (8 * byte) & 0xff);
}

template <typename T>
T Load(const std::byte* from) {
  T value = 0;
  for (size_t byte = sizeof(T); byte-- > 0;) value = static_cast<T>(value << 8 | static_cast<T>(from[byte]));
  return value;
}

const unsigned char* Raw(const std::byte* bytes) { return reinterpret_cast<const unsigned char*>(bytes); }
unsigned char* Raw(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }

void WriteFields(const ChunkPlace& place, uint64_t key_id, uint64_t payload_bytes, ChunkHeader* header) {
  std::byte* to = header->data();
  std::memcpy(to, kMagic, kVersionAt);
  Store(kVersion, to + kVersionAt);
  Store(key_id, to + kKeyIdAt);
  Store(place.entry.bytes, to + kBytesAt);
  Store(place.entry.write_id, to + kWriteIdAt);
  Store(place.entry.tenant, to + kTenantAt);
  std::memcpy(to + kParentAt, place.entry.parent.bytes.data(), place.entry.parent.bytes.size());
  Store(place.chunk, to + kChunkAt);
  Store(static_cast<uint32_t>(payload_bytes), to + kPayloadAt);
}

// The checksum of the payload, then of the header's fields with it: 64 bits of the tag's place, the rest zero.
void WriteChecksum(const ChunkPlace& place, absl::Span<const std::byte> payload, ChunkHeader* header) {
  std::byte* tag = header->data() + kTagAt;
  Store(Checksum(place.key, ChunkOffset(place.chunk), payload), tag);
  Store(Checksum(place.key, 0, absl::MakeConstSpan(*header).first(kTagAt + sizeof(uint64_t))), tag);
}

absl::Status Damaged(const ChunkPlace& place) {
  return absl::DataLossError(absl::StrCat("chunk ", place.chunk, " of block ", ToHex(place.key),
                                          " in the L2 is not what was written: it counts as a miss"));
}

}  // namespace

uint32_t ChunkCount(uint64_t value_bytes) {
  SLIMFILL_CHECK(value_bytes > 0);
  return static_cast<uint32_t>((value_bytes - 1) / kChunkBytes + 1);
}
uint64_t ChunkOffset(uint32_t chunk) { return chunk * kChunkBytes; }
uint64_t ChunkSize(uint64_t value_bytes, uint32_t chunk) {
  return std::min(kChunkBytes, value_bytes - ChunkOffset(chunk));
}

absl::StatusOr<SealKey> ReadSealKey(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read '", path, "': give a file that this user may read"));
  std::string text(1024, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  SealKey key;
  if (text.size() != key.bytes.size()) {
    const absl::string_view digits = absl::StripAsciiWhitespace(text);
    if (digits.size() != 2 * key.bytes.size() || !std::all_of(digits.begin(), digits.end(), absl::ascii_isxdigit)) {
      return absl::InvalidArgumentError(absl::StrCat("'", path, "' has ", text.size(),
                                                     " bytes, and a key has 32 hexadecimal digits or 16 raw bytes: "
                                                     "make one with openssl rand -hex 16"));
    }
    text = absl::HexStringToBytes(digits);
  }
  std::memcpy(key.bytes.data(), text.data(), key.bytes.size());
  return key;
}

struct ValueSealer::Cipher {
  struct Context {
    Context() : context(EVP_CIPHER_CTX_new()) { SLIMFILL_CHECK(context != nullptr); }
    ~Context() { EVP_CIPHER_CTX_free(context); }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    EVP_CIPHER_CTX* const context;
  };

  explicit Cipher(const SealKey& seal_key) : key(seal_key), gcm(EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr)) {
    SLIMFILL_CHECK(gcm != nullptr);
  }
  ~Cipher() { EVP_CIPHER_free(gcm); }
  Cipher(const Cipher&) = delete;
  Cipher& operator=(const Cipher&) = delete;

  // What is authenticated besides the payload: the block's key and the header without nonce and tag.
  bool Start(EVP_CIPHER_CTX* context, bool encrypt, const BlockKey& block, const ChunkHeader& header) const {
    int ignored = 0;
    return EVP_CipherInit_ex2(context, gcm, key.bytes.data(), Raw(header.data() + kNonceAt), encrypt ? 1 : 0,
                              nullptr) == 1 &&
           EVP_CipherUpdate(context, nullptr, &ignored, block.bytes.data(), static_cast<int>(block.bytes.size())) ==
               1 &&
           EVP_CipherUpdate(context, nullptr, &ignored, Raw(header.data()), static_cast<int>(kNonceAt)) == 1;
  }

  const SealKey key;
  EVP_CIPHER* const gcm;
};

ValueSealer::ValueSealer(const std::optional<SealKey>& key) {
  if (!key.has_value()) return;
  cipher_ = std::make_unique<Cipher>(*key);
  // Tells keys apart and gives none away.
  std::string message = "slimfill L2 key id";
  message.append(reinterpret_cast<const char*>(key->bytes.data()), key->bytes.size());
  std::array<std::byte, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(message.data()), message.size(), Raw(digest.data()));
  key_id_ = Load<uint64_t>(digest.data()) | 1;  // never 0
}

ValueSealer::~ValueSealer() = default;
ValueSealer::ValueSealer(ValueSealer&&) noexcept = default;
ValueSealer& ValueSealer::operator=(ValueSealer&&) noexcept = default;

absl::Span<const std::byte> ValueSealer::Seal(const ChunkPlace& place, absl::Span<const std::byte> payload,
                                              ChunkHeader* header, std::vector<std::byte>* sealed) const {
  header->fill(std::byte{0});
  WriteFields(place, key_id_, payload.size(), header);
  if (cipher_ == nullptr) {
    WriteChecksum(place, payload, header);
    return payload;
  }
  SLIMFILL_CHECK(RAND_bytes(Raw(header->data() + kNonceAt), kNonceBytes) == 1);
  sealed->resize(payload.size());
  const Cipher::Context holder;
  EVP_CIPHER_CTX* const context = holder.context;
  int written = 0;
  SLIMFILL_CHECK(cipher_->Start(context, /*encrypt=*/true, place.key, *header) &&
                 EVP_CipherUpdate(context, Raw(sealed->data()), &written, Raw(payload.data()),
                                  static_cast<int>(payload.size())) == 1 &&
                 EVP_CipherFinal_ex(context, Raw(sealed->data()) + written, &written) == 1 &&
                 EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, header->data() + kTagAt) == 1);
  return *sealed;
}

absl::Status ValueSealer::Open(const ChunkPlace& place, const ChunkHeader& header,
                               absl::Span<std::byte> payload) const {
  ChunkHeader expected{};
  WriteFields(place, key_id_, payload.size(), &expected);
  if (std::memcmp(expected.data(), header.data(), kNonceAt) != 0) return Damaged(place);
  if (cipher_ == nullptr) {
    WriteChecksum(place, payload, &expected);
    return expected == header ? absl::OkStatus() : Damaged(place);
  }
  std::array<std::byte, kTagBytes> tag;
  std::memcpy(tag.data(), header.data() + kTagAt, kTagBytes);
  const Cipher::Context holder;
  EVP_CIPHER_CTX* const context = holder.context;
  int written = 0;
  const bool opened = cipher_->Start(context, /*encrypt=*/false, place.key, header) &&
                      EVP_CipherUpdate(context, Raw(payload.data()), &written, Raw(payload.data()),
                                       static_cast<int>(payload.size())) == 1 &&
                      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag.data()) == 1 &&
                      EVP_CipherFinal_ex(context, Raw(payload.data()) + written, &written) == 1;
  return opened ? absl::OkStatus() : Damaged(place);
}

absl::StatusOr<L2Entry> ValueSealer::ReadEntry(absl::Span<const std::byte> header) const {
  if (header.size() != kChunkHeaderBytes || std::memcmp(header.data(), kMagic, kVersionAt) != 0 ||
      Load<uint32_t>(header.data() + kVersionAt) != kVersion || Load<uint64_t>(header.data() + kKeyIdAt) != key_id_ ||
      Load<uint64_t>(header.data() + kBytesAt) == 0) {
    return absl::NotFoundError("the L2 has a value of another version or encryption key: it counts as a miss");
  }
  L2Entry entry{.bytes = Load<uint64_t>(header.data() + kBytesAt),
                .tenant = Load<uint64_t>(header.data() + kTenantAt),
                .write_id = Load<uint64_t>(header.data() + kWriteIdAt)};
  std::memcpy(entry.parent.bytes.data(), header.data() + kParentAt, entry.parent.bytes.size());
  return entry;
}

}  // namespace slimfill::kvstore
