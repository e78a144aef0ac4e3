#include "kvstore/service/put_session.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/api/checksum.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/byte_buffers.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;
using ::testing::HasSubstr;

// Builds one PutRequest.
class Message {
 public:
  Message& Lease(LeaseId lease) {
    request_.set_lease(lease);
    return *this;
  }
  Message& Block(uint32_t id, uint64_t bytes) {
    v1::PutBlock* block = request_.add_blocks();
    block->set_key(RawKey(Key(id)));
    block->set_total_bytes(bytes);
    return *this;
  }
  // Bytes [offset, offset + size) of the value that Bytes(id, ...) gives the block.
  Message& Chunk(uint32_t ordinal, uint32_t id, uint64_t offset, size_t size) {
    v1::Chunk* chunk = request_.add_chunks();
    const std::vector<std::byte> value = Bytes(id, offset + size);
    const auto data = absl::MakeConstSpan(value).subspan(offset);
    chunk->set_ordinal(ordinal);
    chunk->set_offset(offset);
    chunk->set_checksum(Checksum(Key(id), offset, data));
    chunk->set_data(data.data(), data.size());
    return *this;
  }
  v1::PutRequest& request() { return request_; }

 private:
  v1::PutRequest request_;
};

// As the session hears of it.
absl::Status Accept(PutSession& session, const v1::PutRequest& request) {
  grpc::ByteBuffer bytes = Sliced(request.SerializeAsString(), 1000);
  const absl::StatusOr<PutMessage> message = PutMessage::Parse(bytes);
  return message.ok() ? session.Accept(*message) : message.status();
}

class PutSessionTest : public ::testing::Test {
 protected:
  static LocalStoreOptions Options() {
    LocalStoreOptions options{.memory_bytes = 64 * 1024};
    options.limits = {.max_items = 3, .max_value_bytes = 100000, .max_call_bytes = 150000};
    return options;
  }

  std::vector<Code> Finish() {
    v1::PutResponse response;
    session_.Finish(&response);
    std::vector<Code> codes;
    for (const v1::ItemStatus& status : response.statuses()) {
      EXPECT_EQ(status.ordinal(), codes.size());
      codes.push_back(static_cast<Code>(status.code()));
    }
    return codes;
  }

  // OK only when the block holds what Message::Chunk puts into it.
  Code Read(uint32_t id, size_t size, LeaseId lease = 0) {
    const absl::StatusOr<ValueRange> range = store_->Read(Key(id), 0, size, lease);
    if (range.ok()) {
      EXPECT_EQ(range->bytes, absl::MakeConstSpan(Bytes(id, size)));
    }
    return range.status().code();
  }

  FakeClock clock_;
  std::unique_ptr<LocalKvStore> store_ = LocalKvStore::Create(Options(), clock_, nullptr).value();
  PutSession session_{*store_};
};

TEST_F(PutSessionTest, StoresBlocksFromWholeAndCutMessages) {
  ASSERT_TRUE(
      Accept(session_, Message().Block(1, 10).Chunk(0, 1, 0, 10).Block(2, 30).Chunk(1, 2, 0, 5).request()).ok());
  EXPECT_EQ(Read(1, 10), Code::kOk);
  ASSERT_TRUE(Accept(session_, Message().Chunk(1, 2, 5, 5).Chunk(1, 2, 10, 19).request()).ok());
  EXPECT_EQ(Read(2, 30), Code::kNotFound) << "a byte is missing";
  ASSERT_TRUE(Accept(session_, Message().Chunk(1, 2, 29, 1).request()).ok());
  EXPECT_EQ(Read(2, 30), Code::kOk);
  EXPECT_EQ(Finish(), (std::vector<Code>{Code::kOk, Code::kOk}));
  EXPECT_EQ(session_.stored_bytes(), 40u);
}

TEST_F(PutSessionTest, EveryChunkIsVerifiedHoweverTheValueIsCut) {
  constexpr size_t kPage = kChecksumPageBytes, kSize = 3 * kPage + 100;
  const auto store = LocalKvStore::Create({.memory_bytes = 4 << 20}, clock_, nullptr).value();
  const std::vector<std::byte> value = Bytes(1, kSize);
  // Whole pages, parts of pages, and pieces across pages' borders.
  for (const std::vector<size_t>& cuts : std::vector<std::vector<size_t>>{{kPage, 2 * kPage, 3 * kPage},
                                                                          {kPage, 2 * kPage + 1},
                                                                          {5, kPage, kPage + 50, 3 * kPage},
                                                                          {kPage / 2, 3 * kPage + 99},
                                                                          {}}) {
    for (size_t damaged = 0; damaged <= cuts.size() + 1; ++damaged) {  // the last time: none
      PutSession session(*store);
      Message message;
      message.Block(1, kSize);
      size_t from = 0;
      for (size_t i = 0; i <= cuts.size(); ++i) {
        const size_t to = i < cuts.size() ? cuts[i] : kSize;
        message.Chunk(0, 1, from, to - from);
        from = to;
      }
      const bool sound = damaged > cuts.size();
      if (!sound) {
        std::string& data = *message.request().mutable_chunks(static_cast<int>(damaged))->mutable_data();
        data[data.size() / 2] ^= 1;
      }
      ASSERT_TRUE(Accept(session, message.request()).ok());
      v1::PutResponse response;
      session.Finish(&response);
      EXPECT_EQ(static_cast<Code>(response.statuses(0).code()), sound ? Code::kOk : Code::kDataLoss);
      const absl::StatusOr<LocalKvStore::Whole> whole = store->ReadWhole(Key(1));
      ASSERT_EQ(whole.status().code(), sound ? Code::kOk : Code::kNotFound)
          << cuts.size() << " cuts, damaged: " << damaged;
      if (sound) {
        EXPECT_EQ(whole->range.bytes, absl::MakeConstSpan(value));
      }
      store->Delete({Key(1)});
    }
  }
}

TEST_F(PutSessionTest, LeaseOfTheFirstMessageHoldsForAll) {
  const LeaseId lease = store_->OpenPrivate(absl::InfiniteFuture()).value();
  ASSERT_TRUE(Accept(session_, Message().Lease(lease).Block(1, 10).Chunk(0, 1, 0, 10).request()).ok());
  ASSERT_TRUE(Accept(session_, Message().Lease(0).Block(2, 10).Chunk(1, 2, 0, 10).request()).ok());
  EXPECT_EQ(Read(2, 10, lease), Code::kOk);
  EXPECT_EQ(Read(2, 10), Code::kNotFound);
}

TEST_F(PutSessionTest, UnknownLeaseFailsBlockByBlock) {
  ASSERT_TRUE(Accept(session_, Message().Lease(99).Block(1, 10).Chunk(0, 1, 0, 10).request()).ok());
  EXPECT_EQ(Finish(), (std::vector<Code>{Code::kNotFound}));
}

TEST_F(PutSessionTest, WrongChecksumCostsOneBlock) {
  v1::PutRequest request =
      Message().Block(1, 20).Chunk(0, 1, 0, 10).Chunk(0, 1, 10, 10).Block(2, 10).Chunk(1, 2, 0, 10).request();
  (*request.mutable_chunks(0)->mutable_data())[3] ^= 1;
  ASSERT_TRUE(Accept(session_, request).ok());
  EXPECT_EQ(Finish(), (std::vector<Code>{Code::kDataLoss, Code::kOk}));
  EXPECT_EQ(Read(1, 20), Code::kNotFound);
  EXPECT_EQ(session_.stored_bytes(), 10u);
}

TEST_F(PutSessionTest, PresentBlockKeepsItsValueAndTheStreamGoesOn) {
  ASSERT_TRUE(Accept(session_, Message().Block(1, 10).Chunk(0, 1, 0, 10).request()).ok());
  v1::PutRequest again = Message().Block(1, 10).Chunk(1, 2, 0, 10).Block(3, 10).Chunk(2, 3, 0, 10).request();
  ASSERT_TRUE(Accept(session_, again).ok());
  EXPECT_EQ(Finish(), (std::vector<Code>{Code::kOk, Code::kOk, Code::kOk}));
  EXPECT_EQ(Read(1, 10), Code::kOk);
}

TEST_F(PutSessionTest, FullStoreCostsOneBlock) {
  ASSERT_TRUE(
      Accept(session_, Message().Block(1, 90000).Chunk(0, 1, 0, 90000).Block(2, 10).Chunk(1, 2, 0, 10).request()).ok());
  EXPECT_EQ(Finish(), (std::vector<Code>{Code::kResourceExhausted, Code::kOk}));
}

TEST_F(PutSessionTest, UnfinishedBlocksAreDataLossAndLeaveNoTrace) {
  ASSERT_TRUE(Accept(session_, Message().Block(1, 10).Block(2, 10).Chunk(0, 1, 0, 9).request()).ok());
  EXPECT_EQ(Finish(), (std::vector<Code>{Code::kDataLoss, Code::kDataLoss}));
  { const PutSession ended = std::move(session_); }
  EXPECT_EQ(store_->Stats(absl::InfiniteFuture())->bytes_used, 0u);
}

TEST_F(PutSessionTest, RefusesMessagesThatBreakTheRules) {
  v1::PutRequest short_key = Message().Block(1, 10).request();
  short_key.mutable_blocks(0)->set_key("short");
  v1::PutRequest long_parent = Message().Block(1, 10).request();
  long_parent.mutable_blocks(0)->set_parent(std::string(33, 'x'));
  const std::vector<std::pair<const char*, v1::PutRequest>> bad = {
      {"5 bytes, a block key has 32", short_key},
      {"33 bytes, a block key has 32", long_parent},
      {"empty", Message().Block(1, 0).request()},
      {"limit is 100000", Message().Block(1, 100001).request()},
      {"limit is 150000", Message().Block(1, 100000).Block(2, 50001).request()},
      {"more than 3 items", Message().Block(1, 1).Block(2, 1).Block(3, 1).Block(4, 1).request()},
      {"block 0 of 0 announced", Message().Chunk(0, 1, 0, 10).request()},
      {"block 0 of 2 announced", Message().Block(1, 10).Block(2, 10).Chunk(1, 2, 0, 10).request()},
      {"in order", Message().Block(1, 10).Chunk(0, 1, 1, 9).request()},
      {"in order", Message().Block(1, 10).Chunk(0, 1, 0, 5).Chunk(0, 1, 0, 5).request()},
      {"of which 10 are missing", Message().Block(1, 10).Chunk(0, 1, 0, 11).request()},
      {"chunk of 0 bytes", Message().Block(1, 10).Chunk(0, 1, 0, 0).request()},
      {"block 1 of 1 announced", Message().Block(1, 10).Chunk(0, 1, 0, 10).Chunk(0, 1, 0, 10).request()},
  };
  for (const auto& [text, request] : bad) {
    PutSession session(*store_);
    const absl::Status status = Accept(session, request);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
}

TEST_F(PutSessionTest, HugeAnnouncementsReserveNothing) {
  ASSERT_TRUE(Accept(session_, Message().Block(1, 50000).Block(2, 100000).request()).ok());
  EXPECT_EQ(store_->Stats(absl::InfiniteFuture())->bytes_used, 0u);
}

}  // namespace
}  // namespace slimfill::kvstore
