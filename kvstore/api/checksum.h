// The checksum of stored and transported KV bytes: XXH3-64, seeded with the block's key and the bytes' place in the
// value, so that intact bytes of another block or of another place fail too. XXH3 rather than CRC32C: the library picks
// AVX2 or AVX-512 at run time and hashes as fast as memory delivers, 64 bits miss fewer errors than 32, and clients
// exist for every language. It guards against accidents, not against an adversary.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::kvstore {

// Stored values keep a checksum for each of their pages of this size, from their start on; the last page may be
// shorter.
constexpr uint64_t kChecksumPageBytes = 64 * 1024;

// Pages that a range of a value touches: [first, end).
struct PageRange {
  uint64_t first = 0, end = 0;
  uint64_t size() const { return end - first; }
};
PageRange PagesOf(uint64_t offset, uint64_t length);

// The key's first 8 bytes read as a little-endian number, plus `offset` modulo 2^64.
uint64_t ChecksumSeed(const BlockKey& key, uint64_t offset);

// XXH3-64 of `bytes`, which start at `offset` of the value of `key`, with their ChecksumSeed.
uint64_t Checksum(const BlockKey& key, uint64_t offset, absl::Span<const std::byte> bytes);

}  // namespace slimfill::kvstore
