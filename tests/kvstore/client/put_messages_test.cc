#include "kvstore/client/put_messages.h"

#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "kvstore/api/checksum.h"
#include "slimfill/v1/kvstore.pb.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/byte_buffers.h"

namespace slimfill::kvstore {
namespace {

constexpr uint64_t kMessageBytes = 1000;

// As protobuf reads them.
std::vector<v1::PutRequest> AllMessages(const std::vector<PutItem>& items, LeaseId lease = 0,
                                        uint64_t message_bytes = kMessageBytes) {
  PutMessages messages(items, lease, message_bytes);
  std::vector<v1::PutRequest> all;
  grpc::ByteBuffer bytes;
  while (messages.Next(&bytes)) EXPECT_TRUE(all.emplace_back().ParseFromString(Flat(bytes)));
  EXPECT_TRUE(messages.done());
  return all;
}

TEST(PutMessages, SmallValuesShareAMessage) {
  const auto a = Bytes(1, 400), b = Bytes(2, 600), c = Bytes(3, 10);
  const auto all = AllMessages({Item(Key(1), a), Item(Key(2), b, Key(1)), Item(Key(3), c)}, 42);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].lease(), 42u);
  ASSERT_EQ(all[0].blocks_size(), 2);
  EXPECT_EQ(all[0].blocks(0).key(), RawKey(Key(1)));
  EXPECT_EQ(all[0].blocks(0).parent(), "");
  EXPECT_EQ(all[0].blocks(1).parent(), RawKey(Key(1)));
  EXPECT_EQ(all[0].blocks(1).total_bytes(), 600u);
  EXPECT_EQ(all[1].chunks(0).ordinal(), 2u);
}

TEST(PutMessages, ValueThatDoesNotFitStartsTheNextMessage) {
  const auto a = Bytes(1, 400), b = Bytes(2, 700);
  const auto all = AllMessages({Item(Key(1), a), Item(Key(2), b)});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[1].chunks(0).data().size(), 700u);
}

TEST(PutMessages, LargeValueIsCutAtMessagesAcrossItsParts) {
  const std::vector<std::byte> value = Bytes(1, 2500);
  const auto span = absl::MakeConstSpan(value);
  const PutItem item{.key = Key(1), .parts = {span.subspan(0, 1), {}, span.subspan(1, 1800), span.subspan(1801)}};
  std::string together;
  for (const v1::PutRequest& message : AllMessages({item})) {
    ASSERT_EQ(message.chunks_size(), 1);
    const v1::Chunk& chunk = message.chunks(0);
    EXPECT_LE(chunk.data().size(), kMessageBytes);
    EXPECT_EQ(chunk.offset(), together.size());
    EXPECT_EQ(chunk.checksum(), Checksum(Key(1), chunk.offset(), span.subspan(chunk.offset(), chunk.data().size())));
    together += chunk.data();
  }
  EXPECT_EQ(together, std::string(reinterpret_cast<const char*>(value.data()), value.size()));
}

TEST(PutMessages, NoChunkCrossesAPageAndNoPageIsCutWhereMessagesHaveRoomForIt) {
  constexpr uint64_t kMessage = 2 * kChecksumPageBytes + 5000;
  const auto small = Bytes(1, 3000), large = Bytes(2, 5 * kChecksumPageBytes + 700);
  std::vector<uint64_t> sizes;
  for (const v1::PutRequest& message : AllMessages({Item(Key(1), small), Item(Key(2), large)}, 0, kMessage)) {
    uint64_t data = 0;
    for (const v1::Chunk& chunk : message.chunks()) {
      data += chunk.data().size();
      sizes.push_back(chunk.data().size());
      EXPECT_EQ(chunk.offset() % kChecksumPageBytes, 0u);
      EXPECT_LE(chunk.data().size(), kChecksumPageBytes);
      const auto& value = chunk.ordinal() == 0 ? small : large;
      const auto bytes = absl::MakeConstSpan(value).subspan(chunk.offset(), chunk.data().size());
      EXPECT_EQ(chunk.checksum(), Checksum(Key(chunk.ordinal() + 1), chunk.offset(), bytes));
      EXPECT_EQ(std::memcmp(chunk.data().data(), bytes.data(), bytes.size()), 0);
    }
    EXPECT_LE(data, kMessage);
  }
  const uint64_t page = kChecksumPageBytes;
  EXPECT_EQ(sizes, (std::vector<uint64_t>{3000, page, page, page, page, page, 700}));
}

TEST(PutMessages, DataIsTheLastAndHighestFieldOfAChunk) {
  const google::protobuf::Descriptor& chunk = *v1::Chunk::descriptor();
  ASSERT_NE(chunk.FindFieldByName("data"), nullptr);
  EXPECT_EQ(chunk.FindFieldByName("data")->number(), 15);
  for (int i = 0; i < chunk.field_count(); ++i) EXPECT_LE(chunk.field(i)->number(), 15);
}

TEST(PutMessages, NothingToSayIsNoMessage) { EXPECT_TRUE(AllMessages({}).empty()); }

}  // namespace
}  // namespace slimfill::kvstore
