// Commands to one node and their replies, over one connection, without waiting in between: while some are on their way
// others are answered. Several nodes' exchanges run at once, in the caller's thread.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "kvstore/l2/chunk_command.h"
#include "kvstore/l2/redis_connection.h"
#include "kvstore/l2/reply_reader.h"

namespace slimfill::kvstore {

struct ExchangeSettings {
  const ValueSealer& sealer;
  absl::Duration ttl;  // of what is written
};

// Not thread safe.
class NodeExchange final : private ReplyHandler {
 public:
  // `commands` go in order and get their answers; they and `settings` outlive the exchange.
  NodeExchange(std::unique_ptr<RedisConnection> connection, std::vector<ChunkCommand*> commands,
               const ExchangeSettings& settings);

  bool done() const { return !failure_.ok() || answered_ == commands_.size(); }
  const absl::Status& failure() const { return failure_; }  // of the connection; OK when every command was answered
  std::unique_ptr<RedisConnection> TakeConnection() { return std::move(connection_); }

  int fd() const { return connection_->socket->fd(); }
  short PollEvents() const { return connection_->socket->PollEvents(WantsToWrite()); }

  // Moves what can be moved.
  void Progress();
  // Whether Progress should be called without waiting for the socket.
  bool eager() const { return eager_; }

  // Ends the exchange; commands without an answer get `status`.
  void Fail(const absl::Status& status);

 private:
  bool WantsToWrite() const { return !outgoing_.empty() || HasRoom(); }
  bool HasRoom() const;
  void FillOutgoing();
  absl::Status Write();
  void Sent(size_t bytes);

  bool ExpectsReply() const override { return failure_.ok() && (extra_replies() || answered_ < next_); }
  std::optional<Place> PlaceString(uint64_t bytes) override;
  void OnString(bool placed) override;
  void OnNil() override;
  void OnLine(absl::string_view text) override;
  void OnError(absl::string_view text) override;

  bool extra_replies() const { return greeting_replies_ > 0 || asking_reply_; }
  // Takes the reply to AUTH or ASKING; false when it is the command's own.
  bool TakeExtraReply();
  ChunkCommand& current() { return *commands_[answered_]; }
  void Answer(const absl::Status& status);
  void Redirect(ChunkCommand::Answer answer, absl::string_view text);
  void NextCommand();

  std::unique_ptr<RedisConnection> connection_;
  const std::vector<ChunkCommand*> commands_;
  const ExchangeSettings& settings_;
  absl::Status failure_;

  std::deque<EncodedCommand> outgoing_;
  std::vector<EncodedCommand> spare_;  // sent ones, for their memory
  size_t sent_of_first_ = 0;           // bytes of outgoing_.front()
  size_t next_ = 0;                    // the first command that is not in outgoing_ yet
  size_t answered_ = 0;                // commands with an answer
  int greeting_replies_ = 0;
  bool eager_ = true;
  bool asking_reply_ = false;  // the current command's ASKING has not been answered
};

// Runs exchanges until all are done. What is not by `deadline` (of the system's clock) fails with DEADLINE_EXCEEDED.
void RunExchanges(absl::Span<NodeExchange* const> exchanges, absl::Time deadline);

}  // namespace slimfill::kvstore
