#include "kvstore/api/limits.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

using ::testing::HasSubstr;

constexpr KvLimits kLimits{.max_keys = 3, .max_items = 2, .max_value_bytes = 10, .max_call_bytes = 15};

std::string MessageOf(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(Limits, RefusesTooManyKeysNamingBothNumbers) {
  EXPECT_TRUE(CheckKeys(3, kLimits).ok());
  EXPECT_THAT(MessageOf(CheckKeys(4, kLimits)), AllOf(HasSubstr("4 keys"), HasSubstr("limit is 3")));
}

TEST(Limits, RefusesFetchOfTooManyTooLargeOrEmptyItems) {
  std::vector<std::byte> room(11);
  const auto item = [&](size_t bytes) { return FetchItem{.destination = absl::MakeSpan(room.data(), bytes)}; };
  EXPECT_TRUE(CheckFetch({}, kLimits).ok());
  EXPECT_TRUE(CheckFetch({item(10), item(5)}, kLimits).ok());
  EXPECT_THAT(MessageOf(CheckFetch({item(1), item(1), item(1)}, kLimits)), HasSubstr("more than 2 items"));
  EXPECT_THAT(MessageOf(CheckFetch({item(11)}, kLimits)), AllOf(HasSubstr("11 bytes"), HasSubstr("limit is 10")));
  EXPECT_THAT(MessageOf(CheckFetch({item(10), item(6)}, kLimits)), AllOf(HasSubstr("16 bytes"), HasSubstr("15")));
  EXPECT_THAT(MessageOf(CheckFetch({item(0)}, kLimits)), HasSubstr("empty"));
}

TEST(Limits, AddsUpThePartsOfPutItems) {
  const std::vector<std::byte> bytes(6);
  const PutItem item{.parts = {bytes, bytes}};
  EXPECT_EQ(ValueBytes(item), 12u);
  EXPECT_THAT(MessageOf(CheckPut({item}, kLimits)), HasSubstr("12 bytes"));
  EXPECT_THAT(MessageOf(CheckPut({PutItem{}}, kLimits)), HasSubstr("empty"));
  EXPECT_TRUE(CheckPut({PutItem{.parts = {bytes}}}, kLimits).ok());
}

}  // namespace
}  // namespace slimfill::kvstore
