#include "kvstore/client/fetch_assembler.h"

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kvstore/api/checksum.h"
#include "kvstore/client/fetch_wire.h"
#include "slimfill/v1/kvstore.pb.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;
using ::testing::Each;

constexpr size_t kItems = 3;
constexpr uint64_t kOffsets[kItems] = {0, 50, 0};

std::vector<std::byte> Value(uint32_t ordinal) { return Bytes(ordinal + 1, 150); }

// Bytes [first, first + size) of the item's range.
v1::Chunk MakeChunk(uint32_t ordinal, uint64_t first, size_t size) {
  v1::Chunk chunk;
  const uint64_t offset = kOffsets[ordinal] + first;
  const std::vector<std::byte> value = Value(ordinal);
  const auto data = absl::MakeConstSpan(value).subspan(offset, size);
  chunk.set_ordinal(ordinal);
  chunk.set_offset(offset);
  chunk.set_checksum(Checksum(Key(ordinal + 1), offset, data));
  chunk.set_data(data.data(), data.size());
  return chunk;
}

v1::FetchResponse With(const std::vector<v1::Chunk>& chunks) {
  v1::FetchResponse response;
  for (const v1::Chunk& chunk : chunks) *response.add_chunks() = chunk;
  return response;
}

v1::FetchResponse WithFailure(uint32_t ordinal, int code) {
  v1::FetchResponse response;
  v1::ItemStatus* failure = response.add_failures();
  failure->set_ordinal(ordinal);
  failure->set_code(code);
  return response;
}

// Three items of 100 bytes, with their destinations; the second asks for the range from 50 on of a value of 150.
class Scene {
 public:
  bool IsWritten(size_t ordinal) const {
    const std::vector<std::byte> value = Value(ordinal);
    return absl::MakeConstSpan(got[ordinal]) == absl::MakeConstSpan(value).subspan(kOffsets[ordinal], 100);
  }

  // The message as it may come: in slices of `slice` bytes.
  absl::Status AcceptWire(const std::string& wire, size_t slice) {
    std::vector<grpc::Slice> slices;
    for (size_t at = 0; at < wire.size(); at += slice) slices.emplace_back(wire.substr(at, slice));
    grpc::ByteBuffer message(slices.data(), slices.size());
    return ReadFetchResponse(message, assembler);
  }
  absl::Status Accept(const v1::FetchResponse& response) { return AcceptWire(response.SerializeAsString(), 1000); }

  std::vector<std::vector<std::byte>> got{kItems, std::vector<std::byte>(100)};

 private:
  std::vector<FetchItem> items_ = {Into(Key(1), got[0], kOffsets[0]), Into(Key(2), got[1], kOffsets[1]),
                                   Into(Key(3), got[2], kOffsets[2])};

 public:
  FetchAssembler assembler{items_};
};

TEST(FetchAssembler, PutsChunksTogether) {
  Scene scene;
  ASSERT_TRUE(scene.Accept(With({MakeChunk(0, 0, 100), MakeChunk(1, 0, 30)})).ok());
  EXPECT_TRUE(scene.IsWritten(0));
  ASSERT_TRUE(scene.Accept(With({MakeChunk(1, 30, 69)})).ok());
  ASSERT_TRUE(scene.Accept(With({MakeChunk(1, 99, 1), MakeChunk(2, 0, 100)})).ok());
  EXPECT_TRUE(scene.IsWritten(1) && scene.IsWritten(2));
  EXPECT_TRUE(scene.assembler.CheckComplete().ok());
  EXPECT_THAT(scene.assembler.Finish(absl::OkStatus()), Each(absl::OkStatus()));
  EXPECT_EQ(scene.assembler.received_bytes(), 300u);
}

TEST(FetchAssembler, SlicesMayEndAnywhere) {
  v1::FetchResponse response = With({MakeChunk(0, 0, 100), MakeChunk(1, 0, 100)});
  *response.mutable_failures() = WithFailure(2, 5).failures();
  const std::string wire = response.SerializeAsString();
  for (size_t slice = 1; slice <= wire.size(); ++slice) {
    Scene scene;
    ASSERT_TRUE(scene.AcceptWire(wire, slice).ok());
    EXPECT_TRUE(scene.IsWritten(0) && scene.IsWritten(1));
    EXPECT_TRUE(scene.assembler.CheckComplete().ok());
  }
}

TEST(FetchAssembler, MalformedMessagesBreakTheStream) {
  const std::string chunk = MakeChunk(0, 0, 100).SerializeAsString();
  const std::string wire = With({MakeChunk(0, 0, 100)}).SerializeAsString();
  const auto message = [](const std::string& bytes) {
    return std::string("\x12") + static_cast<char>(0x80 | (bytes.size() & 0x7f)) +
           static_cast<char>(bytes.size() >> 7) + bytes;
  };
  const auto code = [](const std::string& bytes) { return Scene().AcceptWire(bytes, 7).code(); };
  ASSERT_EQ(code(message(chunk)), Code::kOk);
  for (size_t size = 1; size < wire.size(); ++size) EXPECT_EQ(code(wire.substr(0, size)), Code::kDataLoss) << size;
  EXPECT_EQ(code(message(chunk + chunk)), Code::kDataLoss) << "fields again";
  EXPECT_EQ(code(message(chunk + "\x10\x01")), Code::kDataLoss) << "a field after the data";
  EXPECT_EQ(code(message("\x10\x01" + chunk)), Code::kDataLoss) << "fields out of order";
  EXPECT_EQ(code(std::string("\x12\xff\xff\xff\xff\x0f") + chunk), Code::kDataLoss) << "a length of 4 GiB";
  EXPECT_EQ(code("\x1b"), Code::kDataLoss) << "a group that never ends";
  EXPECT_EQ(code(wire + "\x18\x05"), Code::kOk) << "fields of later versions are skipped";
}

TEST(FetchAssembler, ReportsFailuresOfItems) {
  Scene scene;
  ASSERT_TRUE(scene.Accept(WithFailure(1, 5)).ok());
  ASSERT_TRUE(scene.Accept(With({MakeChunk(0, 0, 100), MakeChunk(2, 0, 100)})).ok());
  EXPECT_TRUE(scene.assembler.CheckComplete().ok());
  EXPECT_EQ(scene.assembler.Finish(absl::OkStatus())[1].code(), Code::kNotFound);
}

TEST(FetchAssembler, FlippedBitInAnyChunkIsDataLossOfThatItemAlone) {
  for (int bad : {0, 1}) {
    Scene scene;
    std::vector<v1::Chunk> chunks = {MakeChunk(1, 0, 40), MakeChunk(1, 40, 60)};
    (*chunks[bad].mutable_data())[7] ^= 1;
    ASSERT_TRUE(scene.Accept(With({MakeChunk(0, 0, 100)})).ok());
    ASSERT_TRUE(scene.Accept(With(chunks)).ok());
    ASSERT_TRUE(scene.Accept(With({MakeChunk(2, 0, 100)})).ok());
    const std::vector<absl::Status> statuses = scene.assembler.Finish(absl::OkStatus());
    EXPECT_TRUE(statuses[0].ok() && statuses[2].ok());
    EXPECT_EQ(statuses[1].code(), Code::kDataLoss);
    EXPECT_EQ(scene.assembler.CheckComplete().code(), Code::kDataLoss);
  }
}

TEST(FetchAssembler, RightBytesOfAnotherBlockAreDataLoss) {
  Scene scene;
  v1::Chunk swapped = MakeChunk(2, 0, 100);
  swapped.set_ordinal(0);
  ASSERT_TRUE(scene.Accept(With({swapped})).ok());
  EXPECT_EQ(scene.assembler.Finish(absl::OkStatus())[0].code(), Code::kDataLoss);
}

TEST(FetchAssembler, TruncatedStreamLeavesIncompleteItemsAlone) {
  Scene scene;
  ASSERT_TRUE(scene.Accept(With({MakeChunk(0, 0, 100), MakeChunk(1, 0, 99)})).ok());
  EXPECT_EQ(scene.assembler.CheckComplete().code(), Code::kDataLoss);
  const std::vector<absl::Status> statuses = scene.assembler.Finish(absl::UnavailableError("gone"));
  EXPECT_TRUE(statuses[0].ok());
  EXPECT_EQ(statuses[1].code(), Code::kUnavailable);
  EXPECT_EQ(statuses[2].code(), Code::kUnavailable);
}

TEST(FetchAssembler, RefusesStreamsThatBreakTheirRules) {
  const v1::Chunk part = MakeChunk(1, 0, 40);
  v1::Chunk wrong_place = part;
  wrong_place.set_offset(51);
  v1::Chunk too_long = MakeChunk(0, 0, 100);
  too_long.mutable_data()->push_back('x');
  v1::Chunk empty = MakeChunk(0, 0, 100);
  empty.clear_data();
  v1::Chunk unknown = MakeChunk(0, 0, 100);
  unknown.set_ordinal(kItems);
  const std::vector<std::pair<const char*, std::vector<v1::FetchResponse>>> streams = {
      {"gap", {With({MakeChunk(1, 10, 10)})}},
      {"wrong place", {With({wrong_place})}},
      {"too long", {With({too_long})}},
      {"empty chunk", {With({empty})}},
      {"unknown item", {With({unknown})}},
      {"item twice", {With({MakeChunk(0, 0, 100), MakeChunk(0, 0, 100)})}},
      {"chunk twice", {With({part, part})}},
      {"another item in between", {With({part, MakeChunk(2, 0, 100)})}},
      {"failure of an item under way", {With({part}), WithFailure(1, 5)}},
      {"failure of a complete item", {With({MakeChunk(0, 0, 100)}), WithFailure(0, 5)}},
      {"chunk of a failed item", {WithFailure(0, 5), With({MakeChunk(0, 0, 100)})}},
      {"failure of an unknown item", {WithFailure(kItems, 5)}},
      {"failure that is none", {WithFailure(0, 0)}},
      {"failure of an unknown kind", {WithFailure(0, 17)}},
      {"negative failure", {WithFailure(0, -1)}},
  };
  for (const auto& [name, responses] : streams) {
    Scene scene;
    absl::Status status;
    for (const v1::FetchResponse& response : responses) {
      ASSERT_TRUE(status.ok()) << name;
      status = scene.Accept(response);
    }
    EXPECT_EQ(status.code(), Code::kDataLoss) << name;
  }
}

// Whatever happens to a stream, an item that is OK is right.
TEST(FetchAssembler, MutatedStreamsNeverDeliverAWrongByte) {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    Scene scene;
    std::vector<v1::Chunk> chunks;
    for (uint32_t ordinal = 0; ordinal < kItems; ++ordinal) {
      const size_t cut = random() % 100;
      if (cut > 0) chunks.push_back(MakeChunk(ordinal, 0, cut));
      chunks.push_back(MakeChunk(ordinal, cut, 100 - cut));
    }
    std::string wire = With(chunks).SerializeAsString();
    for (int edit = static_cast<int>(random() % 3); edit >= 0; --edit) {
      const size_t at = random() % wire.size();
      switch (random() % 3) {
        case 0:
          wire[at] ^= static_cast<char>(1 << random() % 8);
          break;
        case 1:
          wire.resize(at + 1);
          break;
        default:
          wire.insert(at, wire.substr(random() % wire.size(), random() % 50));
      }
    }
    scene.AcceptWire(wire, 1 + random() % 200).IgnoreError();
    const std::vector<absl::Status> statuses = scene.assembler.Finish(absl::DataLossError("missing"));
    for (size_t i = 0; i < kItems; ++i) {
      ASSERT_TRUE(!statuses[i].ok() || scene.IsWritten(i)) << "round " << round;
    }
  }
}

}  // namespace
}  // namespace slimfill::kvstore
