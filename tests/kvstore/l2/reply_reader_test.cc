#include "kvstore/l2/reply_reader.h"

#include <poll.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/l2/redis_connection.h"
#include "tests/kvstore/l2/fake_redis.h"

namespace slimfill::kvstore {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Writes down what comes. Strings of 10 bytes and more are placed, 4 bytes of them into the head.
class Notes final : public ReplyHandler {
 public:
  explicit Notes(size_t expected) : expected_(expected) {}
  bool ExpectsReply() const override { return seen.size() < expected_; }
  std::optional<Place> PlaceString(uint64_t bytes) override {
    head_.assign(4, '?');
    body_.assign(bytes < 4 ? 0 : bytes - 4, '?');
    if (bytes < 10) return std::nullopt;
    return Place{Span(head_), Span(body_)};
  }
  void OnString(bool placed) override { seen.push_back(placed ? head_ + "|" + body_ : "(thrown away)"); }
  void OnNil() override { seen.push_back("(nil)"); }
  void OnLine(absl::string_view text) override { seen.push_back(absl::StrCat("+", text)); }
  void OnError(absl::string_view text) override { seen.push_back(absl::StrCat("-", text)); }

  std::vector<std::string> seen;

 private:
  static absl::Span<std::byte> Span(std::string& text) {
    return absl::MakeSpan(reinterpret_cast<std::byte*>(text.data()), text.size());
  }
  const size_t expected_;
  std::string head_, body_;
};

absl::Status ReadReplies(const std::string& bytes, size_t piece_bytes, Notes& notes) {
  FakeRedis server([&](const FakeRedis::Words&) { return bytes; });
  server.set_piece_bytes(piece_bytes);
  auto socket = RedisSocket::Connect(server.address(), nullptr).value();
  const std::string command = FormatCommand({"GO"});
  for (size_t sent = 0; sent < command.size();) {
    const iovec part{const_cast<char*>(command.data()) + sent, command.size() - sent};
    sent += socket->Write({&part, 1}).value();
  }
  ReplyReader reader;
  while (notes.ExpectsReply()) {
    pollfd wait{.fd = socket->fd(), .events = POLLIN, .revents = 0};
    poll(&wait, 1, -1);
    const absl::StatusOr<bool> more = reader.ReadFrom(*socket, notes);
    if (!more.ok()) return more.status();
  }
  EXPECT_TRUE(reader.empty());
  return absl::OkStatus();
}

TEST(ReplyReader, ReadsRepliesInWhateverPiecesTheyCome) {
  const std::string bytes = "+OK\r\n$12\r\nabcdefgh\r\nyz\r\n$-1\r\n:42\r\n$3\r\nabc\r\n-MOVED 1 h:2\r\n$0\r\n\r\n";
  for (const size_t piece : {size_t{1}, size_t{2}, size_t{3}, size_t{5}, size_t{13}, bytes.size()}) {
    Notes notes(7);
    ASSERT_TRUE(ReadReplies(bytes, piece, notes).ok());
    EXPECT_THAT(notes.seen, ElementsAre("+OK", "abcd|efgh\r\nyz", "(nil)", "+42", "(thrown away)", "-MOVED 1 h:2",
                                        "(thrown away)"));
  }
}

TEST(ReplyReader, ReadsManyLargeStrings) {
  std::string bytes;
  std::vector<std::string> expected;
  for (int i = 0; i < 20; ++i) {
    const std::string text(100000 + i * 4096, static_cast<char>('a' + i));
    bytes += BulkReply(text);
    expected.push_back(text.substr(0, 4) + "|" + text.substr(4));
  }
  Notes notes(20);
  ASSERT_TRUE(ReadReplies(bytes, 50000, notes).ok());
  EXPECT_EQ(notes.seen, expected);
}

TEST(ReplyReader, RefusesWhatIsNoReply) {
  for (const std::string& bytes : {std::string("HTTP/1.1 400\r\n"), std::string("$x\r\n"), std::string("$-2\r\n"),
                                   std::string("\r\n"), std::string("$4\r\nabcdef\r\n"), std::string("*1\r\n+OK\r\n"),
                                   std::string(5000, '+'), std::string("$99999999999999999999\r\n")}) {
    Notes notes(1);
    const absl::Status status = ReadReplies(bytes, 1 << 20, notes);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << bytes.substr(0, 20);
    EXPECT_THAT(std::string(status.message()), HasSubstr("is it Redis?"));
  }
}

}  // namespace
}  // namespace slimfill::kvstore
