#include "kvstore/api/checksum.h"

#if defined(__x86_64__)
#include "xxh_x86dispatch.h"  // the same functions, with the instruction set chosen at run time
#else
#include "xxhash.h"
#endif

namespace slimfill::kvstore {

uint64_t Checksum(const BlockKey& key, uint64_t offset, absl::Span<const std::byte> bytes) {
  uint64_t seed = 0;
  for (int byte = 7; byte >= 0; --byte) seed = seed << 8 | key.bytes[byte];
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed + offset);
}

}  // namespace slimfill::kvstore
