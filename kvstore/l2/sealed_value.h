// How a block's value lies in the L2: in chunks, each a Redis string of a header and up to kChunkBytes of the value,
// encrypted with AES-128-GCM or, where there is no key, guarded by an XXH3 checksum. Both cover the header, the block's
// key and the chunk's number: a chunk that was damaged, cut off or put under another name does not open.
//
// The header, little-endian: magic "SLKV" (4 bytes), version (4), key id (8; 0: not encrypted), bytes of the value (8),
// write id (8), tenant (8), parent's key (32), chunk (4), bytes of the chunk's payload (4), nonce (12), tag or checksum
// (16).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kvstore/api/kv_store.h"
#include "kvstore/l2/l2_store.h"

namespace slimfill::kvstore {

inline constexpr size_t kChunkHeaderBytes = 108;
// With the header and Redis' own, just within its allocator's 256 KiB class: a byte more would cost 64 KiB.
inline constexpr uint64_t kChunkBytes = (256 << 10) - 128;

using ChunkHeader = std::array<std::byte, kChunkHeaderBytes>;

// Names one chunk of one stored value.
struct ChunkPlace {
  BlockKey key;
  L2Entry entry;
  uint32_t chunk = 0;
};

uint32_t ChunkCount(uint64_t value_bytes);  // REQUIRES: value_bytes > 0
uint64_t ChunkOffset(uint32_t chunk);
uint64_t ChunkSize(uint64_t value_bytes, uint32_t chunk);

struct SealKey {
  std::array<uint8_t, 16> bytes{};
};

// From a file with 32 hexadecimal digits (and white space around them) or 16 raw bytes. INVALID_ARGUMENT or NOT_FOUND
// names the file and the remedy, never what is in it.
absl::StatusOr<SealKey> ReadSealKey(const std::string& path);

// Thread safe. Nonces are random, 96 bits: a key is good for 2^32 chunks, a PiB.
class ValueSealer {
 public:
  explicit ValueSealer(const std::optional<SealKey>& key);  // none: checksums only
  ~ValueSealer();
  ValueSealer(ValueSealer&&) noexcept;
  ValueSealer& operator=(ValueSealer&&) noexcept;

  bool encrypts() const { return key_id_ != 0; }

  // Writes the header and returns what follows it: `payload` itself, or its encrypted bytes, which `sealed` then holds.
  absl::Span<const std::byte> Seal(const ChunkPlace& place, absl::Span<const std::byte> payload, ChunkHeader* header,
                                   std::vector<std::byte>* sealed) const;

  // Verifies and decrypts in place. DATA_LOSS when the chunk is not the one that was sealed for this place.
  absl::Status Open(const ChunkPlace& place, const ChunkHeader& header, absl::Span<std::byte> payload) const;

  // What the header of a value's first chunk says. NOT_FOUND when it is no header, or one of another version or key.
  absl::StatusOr<L2Entry> ReadEntry(absl::Span<const std::byte> header) const;

 private:
  struct Cipher;

  uint64_t key_id_ = 0;
  std::unique_ptr<Cipher> cipher_;  // null: checksums only
};

}  // namespace slimfill::kvstore
