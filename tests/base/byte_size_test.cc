#include "base/byte_size.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace slimfill {
namespace {

TEST(ByteSize, ReadsWholeNumbersWithBinaryUnits) {
  EXPECT_EQ(*ParseByteSize("0"), 0u);
  EXPECT_EQ(*ParseByteSize("1000"), 1000u);
  EXPECT_EQ(*ParseByteSize("7B"), 7u);
  EXPECT_EQ(*ParseByteSize("64KiB"), 65536u);
  EXPECT_EQ(*ParseByteSize("512MiB"), 536870912u);
  EXPECT_EQ(*ParseByteSize("4GiB"), uint64_t{4} << 30);
  EXPECT_EQ(*ParseByteSize("2TiB"), uint64_t{2} << 40);
}

TEST(ByteSize, RefusesEverythingElseAndShowsTheForm) {
  for (const char* text : {"", "GiB", "4GB", "4 GiB", "-1", "1.5GiB", "4gib", "0x10", "18446744073709551616",
                           "9223372036854775808", "8388608TiB", "18014398509481985KiB"}) {
    const absl::StatusOr<uint64_t> size = ParseByteSize(text);
    EXPECT_EQ(size.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(size.status().message()), ::testing::HasSubstr("as in 4GiB"));
  }
}

TEST(ByteSize, FormatReadsBackAsTheSameSize) {
  EXPECT_EQ(FormatByteSize(uint64_t{4} << 30), "4GiB");
  EXPECT_EQ(FormatByteSize(1000), "1000B");
  EXPECT_EQ(FormatByteSize(0), "0B");
  for (uint64_t bytes : {uint64_t{1}, uint64_t{1536}, uint64_t{5} << 50}) {
    EXPECT_EQ(*ParseByteSize(FormatByteSize(bytes)), bytes);
  }
}

}  // namespace
}  // namespace slimfill
