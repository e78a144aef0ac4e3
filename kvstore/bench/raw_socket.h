// The limit of a way through a socket: the same bytes without gRPC, protobuf and checksums.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace slimfill::kvstore {

// Sends `bytes` over and over: for each message of 8 bytes (a count, of this machine's order) so many of them. Returns
// when the peer hangs up.
void ServeRaw(int socket, absl::Span<const std::byte> bytes);

// Asks for destination.size() bytes and waits for them; false when the peer is gone.
bool FetchRaw(int socket, absl::Span<std::byte> destination);

}  // namespace slimfill::kvstore
