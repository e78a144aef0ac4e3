// Where Redis Cluster keeps a key: one of 16384 slots, named by a CRC of the key or of its hash tag.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace slimfill::kvstore {

inline constexpr int kHashSlots = 16384;

// CRC-16/XMODEM: polynomial 0x1021, initially 0, nothing reflected.
uint16_t Crc16(absl::string_view bytes);

// Only what stands between the first '{' and the next '}' counts, unless that is nothing: keys with the same tag share
// a slot.
int HashSlot(absl::string_view key);

}  // namespace slimfill::kvstore
