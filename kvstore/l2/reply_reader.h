// Reads Redis' replies (RESP2) as they arrive. The bytes of a string go straight to where they are wanted: hiredis' own
// replies would cost an allocation and a copy, a third of the speed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "kvstore/l2/redis_socket.h"

namespace slimfill::kvstore {

// Who waits for replies. Views are valid during the call only.
class ReplyHandler {
 public:
  // Where a string goes: first the head, then the body.
  struct Place {
    absl::Span<std::byte> head, body;
  };

  virtual ~ReplyHandler() = default;
  virtual bool ExpectsReply() const = 0;
  // A string of `bytes` follows. A place of just that size; or nothing: it is thrown away.
  virtual std::optional<Place> PlaceString(uint64_t bytes) = 0;
  virtual void OnString(bool placed) = 0;  // all of it has arrived
  virtual void OnNil() = 0;
  virtual void OnLine(absl::string_view text) = 0;   // +OK and :1
  virtual void OnError(absl::string_view text) = 0;  // -MOVED ...
};

// Not thread safe. One for each connection.
class ReplyReader {
 public:
  // Reads what has arrived and returns whether there may be more of it: call again then, before waiting. UNAVAILABLE
  // when the connection is broken or what comes over it is no reply.
  absl::StatusOr<bool> ReadFrom(RedisSocket& socket, ReplyHandler& handler);

  // Whether every byte that was read belonged to a reply.
  bool empty() const { return begin_ == end_ && state_ == State::kLine; }

 private:
  static constexpr size_t kBufferBytes = 4096;
  static constexpr uint64_t kMaxSkipBytes = 4 << 20;
  enum class State { kLine, kString, kStringEnd };

  std::array<iovec, 3> Room();
  void Arrived(size_t bytes);  // in the order of Room()
  void MoveBufferedString();   // from the buffer to its place
  // One step of parsing; false when bytes are missing.
  absl::StatusOr<bool> Step(ReplyHandler& handler);
  absl::StatusOr<bool> ParseLine(ReplyHandler& handler);
  absl::Status BeginString(absl::string_view length, ReplyHandler& handler);

  std::array<char, kBufferBytes> buffer_;
  size_t begin_ = 0, end_ = 0;  // unparsed bytes
  State state_ = State::kLine;
  ReplyHandler::Place place_;  // what is missing of a string that has a place
  uint64_t skip_ = 0;          // what is missing of one that has none
  bool placed_ = false;
};

}  // namespace slimfill::kvstore
