#include "kvstore/service/fetch_session.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/api/checksum.h"
#include "slimfill/v1/kvstore.grpc.pb.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;
using ::testing::HasSubstr;

// The session's next message as a client reads it; false at the end.
bool NextMessage(FetchSession& session, v1::FetchResponse* response) {
  FetchMessage message;
  if (!session.Next(&message)) return false;
  grpc::ByteBuffer encoded = Encode(message);
  EXPECT_TRUE(grpc::SerializationTraits<v1::FetchResponse>::Deserialize(&encoded, response).ok());
  return true;
}

constexpr uint32_t kMessage = FetchSession::kMinMessageBytes;

void AddRange(uint32_t id, uint64_t offset, uint64_t length, v1::FetchRequest* request) {
  v1::FetchRange* range = request->add_ranges();
  range->set_key(RawKey(Key(id)));
  range->set_offset(offset);
  range->set_length(length);
}

class FetchSessionTest : public ::testing::Test {
 protected:
  FetchSessionTest() { request_.set_max_message_bytes(kMessage); }

  static LocalStoreOptions Options() {
    LocalStoreOptions options{.memory_bytes = 1 << 20};
    options.limits = {.max_items = 1000, .max_value_bytes = 500000, .max_call_bytes = 600000};
    return options;
  }

  void Put(uint32_t id, size_t size) {
    const std::vector<std::byte> value = Bytes(id, size);
    ASSERT_TRUE(store_->Put({Item(Key(id), value)}, 0, absl::InfiniteFuture())->front().ok());
  }

  std::vector<v1::FetchResponse> AllMessages() {
    absl::StatusOr<FetchSession> session = FetchSession::Create(*store_, request_);
    EXPECT_TRUE(session.ok()) << session.status();
    std::vector<v1::FetchResponse> messages;
    v1::FetchResponse message;
    while (NextMessage(*session, &message)) messages.push_back(message);
    return messages;
  }

  FakeClock clock_;
  std::unique_ptr<LocalKvStore> store_ = LocalKvStore::Create(Options(), clock_, nullptr).value();
  v1::FetchRequest request_;
};

TEST_F(FetchSessionTest, LongRangeIsCutIntoMessagesWithChecksums) {
  Put(1, 3 * kMessage);
  AddRange(1, 100, 2 * kMessage + 50, &request_);
  const std::vector<std::byte> value = Bytes(1, 3 * kMessage);
  std::string together;
  for (const v1::FetchResponse& message : AllMessages()) {
    ASSERT_EQ(message.chunks_size(), 1);
    const v1::Chunk& chunk = message.chunks(0);
    EXPECT_LE(chunk.data().size(), kMessage);
    EXPECT_EQ(chunk.offset(), 100 + together.size());
    EXPECT_EQ(chunk.checksum(), Checksum(Key(1), chunk.offset(),
                                         absl::MakeConstSpan(value).subspan(chunk.offset(), chunk.data().size())));
    together += chunk.data();
  }
  EXPECT_EQ(together, std::string(reinterpret_cast<const char*>(value.data()) + 100, 2 * kMessage + 50));
}

TEST_F(FetchSessionTest, ShortRangesShareMessagesAndAreNotCut) {
  for (uint32_t id = 1; id <= 5; ++id) {
    Put(id, 1500);
    AddRange(id, 0, 1500, &request_);
  }
  const std::vector<v1::FetchResponse> messages = AllMessages();
  ASSERT_EQ(messages.size(), 3u);  // 4096 bytes hold two
  EXPECT_EQ(messages[0].chunks_size(), 2);
  EXPECT_EQ(messages[2].chunks(0).ordinal(), 4u);
  EXPECT_EQ(messages[2].chunks(0).data().size(), 1500u);
}

TEST_F(FetchSessionTest, FailuresStandBesideTheOthersBytes) {
  Put(1, 100);
  AddRange(7, 0, 10, &request_);
  AddRange(1, 0, 100, &request_);
  AddRange(1, 50, 51, &request_);
  const std::vector<v1::FetchResponse> messages = AllMessages();
  ASSERT_EQ(messages.size(), 1u);
  ASSERT_EQ(messages[0].failures_size(), 2);
  EXPECT_EQ(messages[0].failures(0).ordinal(), 0u);
  EXPECT_EQ(static_cast<Code>(messages[0].failures(0).code()), Code::kNotFound);
  EXPECT_EQ(static_cast<Code>(messages[0].failures(1).code()), Code::kOutOfRange);
  ASSERT_EQ(messages[0].chunks_size(), 1);
  EXPECT_EQ(messages[0].chunks(0).ordinal(), 1u);
}

TEST_F(FetchSessionTest, ManyMissesStayWithinMessages) {
  for (uint32_t id = 1; id <= 1000; ++id) AddRange(id, 0, 1, &request_);
  int failures = 0;
  for (const v1::FetchResponse& message : AllMessages()) {
    EXPECT_LE(message.ByteSizeLong(), 2 * kMessage);
    failures += message.failures_size();
  }
  EXPECT_EQ(failures, 1000);
}

TEST_F(FetchSessionTest, BlockEvictedUnderWayIsStillReadToItsEnd) {
  Put(1, 3 * kMessage);
  AddRange(1, 0, 3 * kMessage, &request_);
  FetchSession session = FetchSession::Create(*store_, request_).value();
  v1::FetchResponse message;
  ASSERT_TRUE(NextMessage(session, &message));
  ASSERT_TRUE(store_->Delete({Key(1)}).front().ok());
  ASSERT_TRUE(NextMessage(session, &message));
  ASSERT_TRUE(NextMessage(session, &message));
  const std::vector<std::byte> value = Bytes(1, 3 * kMessage);
  EXPECT_EQ(message.chunks(0).data(),
            std::string(reinterpret_cast<const char*>(value.data()) + 2 * kMessage, kMessage));
  EXPECT_FALSE(NextMessage(session, &message));
  EXPECT_EQ(session.sent_bytes(), 3 * kMessage);
  EXPECT_EQ(store_->Stats(absl::InfiniteFuture())->bytes_used, 0u) << "nothing is held any more";
}

TEST_F(FetchSessionTest, RefusesRequestsPastTheLimits) {
  const auto message_of = [&](const v1::FetchRequest& request) {
    const absl::Status status = FetchSession::Create(*store_, request).status();
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    return std::string(status.message());
  };
  for (uint32_t bytes : {kMessage - 1, FetchSession::kMaxMessageBytes + 1}) {
    v1::FetchRequest request;
    request.set_max_message_bytes(bytes);
    EXPECT_THAT(message_of(request), HasSubstr(std::to_string(bytes)));
  }
  v1::FetchRequest short_key;
  AddRange(1, 0, 1, &short_key);
  short_key.mutable_ranges(0)->set_key("abc");
  EXPECT_THAT(message_of(short_key), HasSubstr("3 bytes, a block key has 32"));
  v1::FetchRequest empty, long_range, many_bytes, many_ranges;
  AddRange(1, 0, 0, &empty);
  EXPECT_THAT(message_of(empty), HasSubstr("empty"));
  AddRange(1, 0, ~uint64_t{0}, &long_range);
  EXPECT_THAT(message_of(long_range), HasSubstr("limit is 500000"));
  AddRange(1, 0, 500000, &many_bytes);
  AddRange(1, 0, 100001, &many_bytes);
  EXPECT_THAT(message_of(many_bytes), HasSubstr("limit is 600000"));
  for (int i = 0; i < 1001; ++i) AddRange(1, 0, 1, &many_ranges);
  EXPECT_THAT(message_of(many_ranges), HasSubstr("more than 1000 items"));
}

// Bytes that changed in memory never leave with a checksum that holds, however messages cut the value.
TEST_F(FetchSessionTest, DamageIsNeverSentWithAChecksumThatHolds) {
  for (const uint32_t message_bytes : {kMessage, 65536u, 100000u, 300000u}) {
    for (const size_t first : {size_t{1000}, size_t{70000}}) {
      store_ = LocalKvStore::Create(Options(), clock_, nullptr).value();
      Put(1, first);
      Put(2, 400000);
      const_cast<std::byte&>(store_->Read(Key(2), 250000, 1, 0)->bytes[0]) ^= std::byte{1};
      request_.Clear();
      request_.set_max_message_bytes(message_bytes);
      AddRange(1, 0, first, &request_);
      AddRange(2, 0, 400000, &request_);
      bool told = false;
      for (const v1::FetchResponse& message : AllMessages()) {
        for (const v1::ItemStatus& failure : message.failures())
          told |= failure.code() == static_cast<int>(Code::kDataLoss);
        for (const v1::Chunk& chunk : message.chunks()) {
          const auto data =
              absl::MakeConstSpan(reinterpret_cast<const std::byte*>(chunk.data().data()), chunk.data().size());
          told |= Checksum(Key(1 + chunk.ordinal()), chunk.offset(), data) != chunk.checksum();
        }
      }
      EXPECT_TRUE(told) << message_bytes << " after " << first;
    }
  }
}

TEST_F(FetchSessionTest, EveryRangeIsOneHit) {
  Put(1, 100000);
  for (const uint64_t length : {uint64_t{100000}, kChecksumPageBytes, uint64_t{70000}, uint64_t{5}}) {
    AddRange(1, 0, length, &request_);
  }
  request_.set_max_message_bytes(1 << 20);
  AllMessages();
  EXPECT_EQ(store_->Stats(absl::InfiniteFuture())->hits, 4u);
}

}  // namespace
}  // namespace slimfill::kvstore
