#include "kvstore/shm/protocol.h"

#include <random>

#include "gtest/gtest.h"
#include "kvstore/api/checksum.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore::shm {
namespace {

constexpr Welcome kSlab{.file_bytes = 1 << 20, .pages = 100};

Locate TwoRanges() { return {.lease = 9, .items = {{Key(1), 0, 100}, {Key(2), kChecksumPageBytes - 1, 2}}}; }

Located Answer() {
  return {.items = {{.code = 0, .offset = 4096, .value_bytes = 100, .page = 3, .generation = 7},
                    {.code = 0, .offset = 8192, .value_bytes = 2 * kChecksumPageBytes, .page = 4, .generation = 1}},
          .checksums = {11, 22, 33}};
}

Put TwoBlocks() { return {.lease = 3, .items = {{Key(1), Key(0), 5, 0, 10}, {Key(2), {}, 0, 10, 20}}}; }

TEST(ShmProtocol, PagesOfRanges) {
  EXPECT_EQ(PagesOf(0, 0).size(), 0u);
  EXPECT_EQ(PagesOf(5, 1).size(), 1u);
  EXPECT_EQ(PagesOf(kChecksumPageBytes - 1, 1).end, 1u);
  EXPECT_EQ(PagesOf(kChecksumPageBytes - 1, 2).size(), 2u);
  EXPECT_EQ(PagesOf(kChecksumPageBytes, kChecksumPageBytes).first, 1u);
  EXPECT_EQ(PagesOf(kChecksumPageBytes, kChecksumPageBytes).size(), 1u);
}

TEST(ShmProtocol, MessagesComeBackWhole) {
  const Hello hello = ParseHello(Encode(Hello{.token = {1, 2, 3}, .window_bytes = 77})).value();
  EXPECT_EQ(hello.token[2], 3);
  EXPECT_EQ(hello.window_bytes, 77u);
  const Welcome welcome = ParseWelcome(Encode(kSlab)).value();
  EXPECT_EQ(welcome.file_bytes, kSlab.file_bytes);
  EXPECT_EQ(welcome.pages, kSlab.pages);
  const Bytes locate = Encode(TwoRanges());
  EXPECT_EQ(KindOf(locate).value(), Request::kLocate);
  const Locate located = ParseLocate(locate).value();
  EXPECT_EQ(located.lease, 9u);
  ASSERT_EQ(located.items.size(), 2u);
  EXPECT_EQ(located.items[1].key, Key(2));
  EXPECT_EQ(located.items[1].offset, kChecksumPageBytes - 1);
  EXPECT_EQ(located.items[1].length, 2u);
  const Located answer = ParseLocated(Encode(Answer()), TwoRanges(), kSlab).value();
  EXPECT_EQ(answer.items[0].generation, 7u);
  EXPECT_EQ(answer.items[1].offset, 8192u);
  EXPECT_EQ(answer.checksums, (std::vector<uint64_t>{11, 22, 33}));
  const Bytes put = Encode(TwoBlocks());
  EXPECT_EQ(KindOf(put).value(), Request::kPut);
  const Put parsed = ParsePut(put).value();
  EXPECT_EQ(parsed.lease, 3u);
  EXPECT_EQ(parsed.items[0].parent, Key(0));
  EXPECT_EQ(parsed.items[0].tenant, 5u);
  EXPECT_EQ(parsed.items[1].offset, 10u);
  EXPECT_EQ(ParsePutDone(Encode(PutDone{{0, 8}}), TwoBlocks())->codes, (std::vector<uint32_t>{0, 8}));
}

TEST(ShmProtocol, RefusalsCarryTheirReason) {
  const absl::Status refused = ParseWelcome(EncodeRefused("go away")).status();
  EXPECT_TRUE(absl::IsPermissionDenied(refused));
  EXPECT_EQ(refused.message(), "go away");
}

TEST(ShmProtocol, FailedItemsHaveNoChecksums) {
  Located answer = Answer();
  answer.items[1] = {.code = static_cast<uint32_t>(absl::StatusCode::kNotFound)};
  answer.checksums = {11};
  EXPECT_TRUE(ParseLocated(Encode(answer), TwoRanges(), kSlab).ok());
  answer.checksums = {11, 22};
  EXPECT_TRUE(absl::IsDataLoss(ParseLocated(Encode(answer), TwoRanges(), kSlab).status()));
}

TEST(ShmProtocol, PlacesOutsideTheFileOrTheValueAreRefused) {
  const auto refused = [](const auto& change) {
    Located answer = Answer();
    change(answer);
    return absl::IsDataLoss(ParseLocated(Encode(answer), TwoRanges(), kSlab).status());
  };
  EXPECT_FALSE(refused([](Located&) {}));
  EXPECT_TRUE(refused([](Located& a) { a.items[0].offset = kSlab.file_bytes - 99; }));
  EXPECT_TRUE(refused([](Located& a) { a.items[0].offset = ~uint64_t{0}; }));
  EXPECT_TRUE(refused([](Located& a) { a.items[0].value_bytes = 99; }));
  EXPECT_TRUE(refused([](Located& a) { a.items[0].value_bytes = ~uint64_t{0}; }));
  EXPECT_TRUE(refused([](Located& a) { a.items[0].page = kSlab.pages; }));
  EXPECT_TRUE(refused([](Located& a) { a.items[0].code = 99; }));
  EXPECT_TRUE(refused([](Located& a) { a.items.pop_back(); }));
  EXPECT_TRUE(refused([](Located& a) { a.checksums.pop_back(); }));
}

TEST(ShmProtocol, LimitsHold) {
  Locate locate{.items = std::vector<Locate::Item>(kMaxItems)};
  EXPECT_TRUE(ParseLocate(Encode(locate)).ok());
  EXPECT_LE(Encode(locate).size(), kMaxMessageBytes);
  locate.items[0].length = kMaxRangeBytes;
  EXPECT_TRUE(ParseLocate(Encode(locate)).ok());
  locate.items[1].length = 1;
  EXPECT_FALSE(ParseLocate(Encode(locate)).ok());
  locate.items[1].length = ~uint64_t{0};
  EXPECT_FALSE(ParseLocate(Encode(locate)).ok());
  locate.items.assign(kMaxItems + 1, {});
  EXPECT_FALSE(ParseLocate(Encode(locate)).ok());
  EXPECT_FALSE(ParseLocate(Encode(Locate{})).ok());
  Put put{.items = std::vector<Put::Item>(kMaxItems)};
  EXPECT_TRUE(ParsePut(Encode(put)).ok());
  EXPECT_LE(Encode(put).size(), kMaxMessageBytes);
  put.items.emplace_back();
  EXPECT_FALSE(ParsePut(Encode(put)).ok());
  EXPECT_FALSE(ParseHello(Encode(Hello{.window_bytes = kMaxWindowBytes + 1})).ok());
  // The largest answer: as many pages as the largest request can touch.
  Located largest{.items = std::vector<Located::Item>(kMaxItems),
                  .checksums = std::vector<uint64_t>(kMaxRangeBytes / kChecksumPageBytes + 2 * kMaxItems)};
  EXPECT_LE(Encode(largest).size(), kMaxMessageBytes);
}

// Every parser, on every message cut short or with bytes changed, ends with a status.
TEST(ShmProtocol, DamagedMessagesNeverCrashAParser) {
  std::mt19937 random(3);
  const std::vector<Bytes> messages = {
      Encode(Hello{}),     Encode(kSlab),           Encode(TwoRanges()), Encode(Answer()),
      Encode(TwoBlocks()), Encode(PutDone{{0, 0}}), EncodeRefused("no"), Bytes()};
  const auto parse_all = [](const Bytes& bytes) {
    int accepted = 0;
    accepted += ParseHello(bytes).ok();
    accepted += KindOf(bytes).ok();
    accepted += ParseLocate(bytes).ok();
    accepted += ParsePut(bytes).ok();
    accepted += ParseWelcome(bytes).ok();
    accepted += ParseLocated(bytes, TwoRanges(), kSlab).ok();
    accepted += ParsePutDone(bytes, TwoBlocks()).ok();
    return accepted;
  };
  for (const Bytes& message : messages) {
    for (size_t size = 0; size < message.size(); ++size) {
      const Bytes cut(message.begin(), message.begin() + static_cast<ptrdiff_t>(size));
      EXPECT_LE(parse_all(cut), 1) << "only its kind may still be known";
    }
    for (int change = 0; change < 2000 && !message.empty(); ++change) {
      Bytes changed = message;
      for (uint32_t flips = 1 + random() % 3; flips > 0; --flips) {
        changed[random() % changed.size()] = static_cast<std::byte>(random());
      }
      parse_all(changed);
    }
  }
}

}  // namespace
}  // namespace slimfill::kvstore::shm
