// The messages on the socket beside a store's own, between processes of one machine. Numbers are in the machine's own
// order. A message is a MessageHeader and what its kind has; each side parses the other's as strictly as any input.
//
// The client says Hello with its token, and sends the file of its window along: memory from which the store copies what
// is put. The store answers Welcome with the file of its slab, or Refused. After that every message of the client is
// answered by one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "kvstore/api/kv_store.h"

namespace slimfill::kvstore::shm {

// The socket for these messages, beside the store's own unix socket.
std::string SocketBeside(const std::string& unix_path);

inline constexpr size_t kMaxMessageBytes = 64 << 10;
inline constexpr size_t kMaxItems = 256;                        // of one message
inline constexpr uint64_t kMaxRangeBytes = uint64_t{64} << 20;  // all ranges of one Locate
inline constexpr uint64_t kMaxWindowBytes = uint64_t{1} << 30;

using Bytes = std::vector<std::byte>;

struct Hello {
  std::array<uint8_t, 16> token;
  uint64_t window_bytes = 0;
};

// The slab's file begins with `pages` generations of 8 bytes.
struct Welcome {
  uint64_t file_bytes = 0;
  uint64_t pages = 0;
};

struct Locate {
  struct Item {
    BlockKey key;
    uint64_t offset = 0;
    uint64_t length = 0;
  };
  LeaseId lease = 0;
  std::vector<Item> items;
};

struct Located {
  struct Item {
    uint32_t code = 0;         // of absl::StatusCode. UNIMPLEMENTED: the value does not lie in the slab, fetch it
    uint64_t offset = 0;       // of the value's first byte in the file
    uint64_t value_bytes = 0;  // of the whole value
    uint64_t page = 0;         // whose generation must still be `generation` after the copy
    uint64_t generation = 0;
  };
  std::vector<Item> items;
  std::vector<uint64_t> checksums;  // of the pages (PagesOf) that the ranges of items with code 0 touch, in order
};

struct Put {
  struct Item {
    BlockKey key;
    BlockKey parent;
    uint64_t tenant = 0;
    uint64_t offset = 0;  // in the window
    uint64_t length = 0;
  };
  LeaseId lease = 0;
  std::vector<Item> items;
};

struct PutDone {
  std::vector<uint32_t> codes;  // of absl::StatusCode, one per item
};

Bytes Encode(const Hello& message);
Bytes Encode(const Welcome& message);
Bytes EncodeRefused(absl::string_view reason);
Bytes Encode(const Locate& message);
Bytes Encode(const Located& message);
Bytes Encode(const Put& message);
Bytes Encode(const PutDone& message);

// Of the client's messages. INVALID_ARGUMENT says what is wrong with it.
absl::StatusOr<Hello> ParseHello(absl::Span<const std::byte> bytes);
enum class Request { kLocate, kPut };
absl::StatusOr<Request> KindOf(absl::Span<const std::byte> bytes);
absl::StatusOr<Locate> ParseLocate(absl::Span<const std::byte> bytes);
absl::StatusOr<Put> ParsePut(absl::Span<const std::byte> bytes);

// Of the store's. PERMISSION_DENIED carries the reason of a refusal; DATA_LOSS for what is malformed or does not answer
// the request.
absl::StatusOr<Welcome> ParseWelcome(absl::Span<const std::byte> bytes);
absl::StatusOr<Located> ParseLocated(absl::Span<const std::byte> bytes, const Locate& request, const Welcome& slab);
absl::StatusOr<PutDone> ParsePutDone(absl::Span<const std::byte> bytes, const Put& request);

}  // namespace slimfill::kvstore::shm
