// Builders of keys and values for KV store tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kvstore/api/kv_store.h"

namespace slimfill::kvstore {

inline BlockKey Key(uint32_t id) {
  BlockKey key;
  key.bytes[0] = 0xC0;  // never the all-zero key
  for (int byte = 0; byte < 4; ++byte) key.bytes[1 + byte] = static_cast<uint8_t>(id >> (8 * byte));
  return key;
}

// The key as it goes over the wire.
inline std::string RawKey(const BlockKey& key) { return std::string(key.bytes.begin(), key.bytes.end()); }

// Bytes that depend on the seed and on their place.
inline std::vector<std::byte> Bytes(uint32_t seed, size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(seed * 37 + i * 131 + (i >> 8));
  return bytes;
}

inline PutItem Item(const BlockKey& key, const std::vector<std::byte>& value, const BlockKey& parent = {}) {
  return PutItem{.key = key, .parent = parent, .parts = {value}};
}

inline FetchItem Into(const BlockKey& key, std::vector<std::byte>& destination, uint64_t offset = 0) {
  return FetchItem{.key = key, .offset = offset, .destination = absl::MakeSpan(destination)};
}

}  // namespace slimfill::kvstore
