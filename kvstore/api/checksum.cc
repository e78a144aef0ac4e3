#include "kvstore/api/checksum.h"

#if defined(__x86_64__)
#include "xxh_x86dispatch.h"  // the same functions, with the instruction set chosen at run time
#else
#include "xxhash.h"
#endif

namespace slimfill::kvstore {

PageRange PagesOf(uint64_t offset, uint64_t length) {
  const uint64_t first = offset / kChecksumPageBytes;
  return {first, length == 0 ? first : (offset + length - 1) / kChecksumPageBytes + 1};
}

uint64_t ChecksumSeed(const BlockKey& key, uint64_t offset) {
  uint64_t seed = 0;
  for (int byte = 7; byte >= 0; --byte) seed = seed << 8 | key.bytes[byte];
  return seed + offset;
}

uint64_t Checksum(const BlockKey& key, uint64_t offset, absl::Span<const std::byte> bytes) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), ChecksumSeed(key, offset));
}

}  // namespace slimfill::kvstore
