// Keys of prefix blocks: a SHA-256 chain over token ids, so that a key names the whole prefix up to its block.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::kvstore {

// The root of a chain: everything that changes the bytes of a block must be in `description` (format version, model
// hash, dtype and layout, RoPE, stage-1 depth), and `tenant_salt` keeps tenants apart. Length-prefixed, so no two
// different pairs collide.
BlockKey ChainRoot(absl::string_view description, absl::string_view tenant_salt);

// Stands for a tenant in PutItem::tenant; 0 for the empty salt, of requests without one.
uint64_t TenantNumber(absl::string_view tenant_salt);

// Key of a full block: SHA-256(parent || little-endian token ids).
BlockKey ChainNext(const BlockKey& parent, absl::Span<const int32_t> tokens);

// Keys of all *full* blocks of `tokens` (the partial last block has none), in order.
std::vector<BlockKey> ChainKeys(const BlockKey& root, absl::Span<const int32_t> tokens, int block_tokens);

// Key of a block's second value, the KV of the layers behind stage 1: SHA-256(block's key || "upper layers").
BlockKey UpperLayersKey(const BlockKey& block);

// Key of a request's private value: SHA-256(nonce || layer || block).
BlockKey PrivateKey(const BlockKey& nonce, uint32_t layer, uint32_t block);

// 256 and 64 random bits from the system's generator.
BlockKey RandomKey();
uint64_t RandomNumber();

std::string ToHex(const BlockKey& key);

}  // namespace slimfill::kvstore
