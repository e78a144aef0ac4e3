// safetensors files: right ones, and every way to be wrong.
#include "engine/model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/model/dequantize.h"

namespace slimfill::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::vector<std::byte> File(uint64_t header_bytes, const std::string& header, size_t data_bytes) {
  std::vector<std::byte> file(8 + header.size() + data_bytes);
  std::memcpy(file.data(), &header_bytes, 8);
  std::memcpy(file.data() + 8, header.data(), header.size());
  for (size_t i = 0; i < data_bytes; ++i) file[8 + header.size() + i] = static_cast<std::byte>(i);
  return file;
}
std::vector<std::byte> File(const std::string& header, size_t data_bytes) {
  return File(header.size(), header, data_bytes);
}

std::string Entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape, ",\"data_offsets\":", offsets,
                      "}");
}

// A header of one F32 matrix [2, 3], whose 24 bytes are all of the data.
std::string Matrix() { return Entry("a", "F32", "[2,3]", "[0,24]"); }

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirBytes) {
  const std::string header =
      absl::StrCat("{\"__metadata__\":{\"format\":\"pt\"},", Entry("z", "BF16", "[2,3]", "[4,16]"), ",",
                   Entry("b", "F16", "[2]", "[0,4]"), ",", Entry("y", "F32", "[1]", "[16,20]"), "}  ");
  const std::vector<std::byte> file = File(header, 20);
  const auto tensors = ParseSafetensors(file, "m.safetensors");
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 3u);
  EXPECT_EQ((*tensors)[0].name, "b");
  EXPECT_EQ((*tensors)[0].type, GgmlType::kF16);
  EXPECT_EQ((*tensors)[1].name, "z");
  EXPECT_EQ((*tensors)[1].type, GgmlType::kBF16);
  EXPECT_EQ((*tensors)[1].cols(), 3);
  EXPECT_EQ((*tensors)[1].rows(), 2);
  EXPECT_EQ((*tensors)[1].bytes.size(), 12u);
  EXPECT_EQ((*tensors)[1].bytes.data(), file.data() + 8 + header.size() + 4);
  EXPECT_EQ((*tensors)[2].type, GgmlType::kF32);
}

// The header's length decides where the data begins, at any address.
TEST(Safetensors, ReadsDataThatIsNotAligned) {
  std::string header = absl::StrCat("{", Entry("a", "F32", "[2]", "[0,8]"), "}");
  for (int padding = 0; padding < 4; ++padding, header += " ") {
    std::vector<std::byte> file = File(header, 8);
    const float stored[2] = {1.5f, -2.25f};
    std::memcpy(file.data() + file.size() - 8, stored, 8);
    const auto tensors = ParseSafetensors(file, "m");
    ASSERT_TRUE(tensors.ok()) << tensors.status();
    std::vector<float> values(2);
    DequantizeRow((*tensors)[0].type, (*tensors)[0].bytes, absl::MakeSpan(values));
    EXPECT_THAT(values, ElementsAre(1.5f, -2.25f));
  }
}

TEST(Safetensors, AFileMayBeEmptyOfTensors) {
  const std::vector<std::byte> file = File("{}", 0);
  const auto tensors = ParseSafetensors(file, "m");
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_THAT(*tensors, IsEmpty());
}

void ExpectRefused(const std::vector<std::byte>& file, const std::string& text, const SafetensorsLimits& limits = {}) {
  const absl::Status status = ParseSafetensors(file, "dir/m.safetensors", limits).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), testing::StartsWith("dir/m.safetensors: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr(text));
}

TEST(Safetensors, RefusesWrongLengths) {
  const std::string header = "{" + Matrix() + "}";
  ExpectRefused({}, "the file has 0 bytes");
  ExpectRefused(std::vector<std::byte>(7), "the file has 7 bytes");
  ExpectRefused(File(header.size() + 25, header, 24), "it is cut off");
  ExpectRefused(File(std::numeric_limits<uint64_t>::max(), header, 24), "the header has 18446744073709551615 bytes");
  ExpectRefused(File(uint64_t{1} << 40, header, 24), "the limit is 16777216");
  ExpectRefused(File(header, 24), absl::StrCat("the header has ", header.size(), " bytes, the limit is 8"),
                {.max_header_bytes = 8});
  ExpectRefused(File(0, header, 24), "not valid JSON");
  ExpectRefused(File(header, 23), "\"data_offsets\" are 0 and 24, the file has 23 bytes of data");
  ExpectRefused(File(header, 25), "1 bytes behind the last tensor belong to none");
}

struct BadHeader {
  const char* name;
  std::string header;
  size_t data_bytes;
  const char* message;
};
void PrintTo(const BadHeader& bad, std::ostream* out) { *out << bad.name; }

class BadHeaderTest : public ::testing::TestWithParam<BadHeader> {};

TEST_P(BadHeaderTest, IsRefusedWithWhatIsWrong) {
  ExpectRefused(File(GetParam().header, GetParam().data_bytes), GetParam().message);
}

std::string WithEntry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{" + Entry("a", dtype, shape, offsets) + "}";
}

INSTANTIATE_TEST_SUITE_P(
    All, BadHeaderTest,
    ::testing::Values(
        BadHeader{"NoJson", "hello", 0, "not valid JSON"}, BadHeader{"CutJson", "{" + Matrix(), 24, "not valid JSON"},
        BadHeader{"TrailingText", "{}{}", 0, "not valid JSON"},
        BadHeader{"NotUtf8", "{\"\xff\":1}", 0, "not valid JSON"},
        BadHeader{"ZeroByte", std::string("{\0}", 3), 0, "not valid JSON"},
        BadHeader{"Array", "[]", 0, "not a JSON object"}, BadHeader{"Null", "null", 0, "not a JSON object"},
        BadHeader{"Deep", std::string(100000, '['), 0, "nests deeper than 64"},
        BadHeader{"DuplicateTensor", "{" + Matrix() + "," + Matrix() + "}", 24, "has the key \"a\" twice"},
        BadHeader{"DuplicateKey", "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F16\"}}", 0, "has the key \"dtype\" twice"},
        BadHeader{"MetadataNotStrings", "{\"__metadata__\":{\"a\":1}}", 0,
                  "\"__metadata__\" is not an object of strings"},
        BadHeader{"MetadataNoObject", "{\"__metadata__\":\"a\"}", 0, "\"__metadata__\" is not an object of strings"},
        BadHeader{"TensorNoObject", "{\"a\":7}", 0, "tensor \"a\" is not an object"},
        BadHeader{"EmptyName", "{" + Entry("", "F32", "[1]", "[0,4]") + "}", 4, "a tensor's name has 0 bytes"},
        BadHeader{"LongName", "{" + Entry(std::string(1025, 'n'), "F32", "[1]", "[0,4]") + "}", 4,
                  "name has 1025 bytes"},
        BadHeader{"NoDtype", "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "\"dtype\" is missing"},
        BadHeader{"DtypeNumber", "{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "must be a string"},
        BadHeader{"UnknownDtype", WithEntry("F8_E4M3", "[4]", "[0,4]"), 4,
                  "tensor \"a\": the dtype \"F8_E4M3\" is not supported, F32, F16 and BF16 are"},
        BadHeader{"IntegerDtype", WithEntry("I64", "[1]", "[0,8]"), 8, "the dtype \"I64\""},
        BadHeader{"NoShape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "the shape must be an array"},
        BadHeader{"EmptyShape", WithEntry("F32", "[]", "[0,4]"), 4, "the shape must be an array of 1 to 4 sizes"},
        BadHeader{"FiveDimensions", WithEntry("F32", "[1,1,1,1,1]", "[0,4]"), 4,
                  "the shape must be an array of 1 to 4"},
        BadHeader{"ZeroSize", WithEntry("F32", "[0,3]", "[0,0]"), 0, "the shape's size 0"},
        BadHeader{"NegativeSize", WithEntry("F32", "[-2,3]", "[0,24]"), 24, "the shape's size -2"},
        BadHeader{"FractionalSize", WithEntry("F32", "[2.0,3]", "[0,24]"), 24, "the shape's size 2.0"},
        BadHeader{"HugeSize", WithEntry("F32", "[18446744073709551615]", "[0,24]"), 24, "size 18446744073709551615"},
        BadHeader{"HugerSize", WithEntry("F32", "[1e400]", "[0,24]"), 24, "not valid JSON"},
        BadHeader{"ProductOverflows", WithEntry("F32", "[4294967296,4294967296]", "[0,24]"), 24, "the shape's size"},
        BadHeader{"ProductWrapsToTheRightNumber", WithEntry("F32", "[6,4611686018427387905]", "[0,24]"), 24,
                  "the shape's size 4611686018427387905"},
        BadHeader{"ShapeNeedsMore", WithEntry("F32", "[2,4]", "[0,24]"), 24, "the shape needs 32 bytes"},
        BadHeader{"ShapeNeedsLess", WithEntry("F16", "[2,3]", "[0,24]"), 24, "the shape needs 12 bytes"},
        BadHeader{"NoOffsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "must be two unsigned integers"},
        BadHeader{"OneOffset", WithEntry("F32", "[1]", "[0]"), 4, "must be two unsigned integers"},
        BadHeader{"NegativeOffset", WithEntry("F32", "[1]", "[-4,0]"), 4, "must be two unsigned integers"},
        BadHeader{"TurnedOffsets", WithEntry("F32", "[1]", "[4,0]"), 4, "\"data_offsets\" are 4 and 0"},
        BadHeader{"OffsetsBehindTheFile", WithEntry("F32", "[1]", "[4,8]"), 4, "\"data_offsets\" are 4 and 8"},
        BadHeader{"HugeOffsets", WithEntry("F32", "[1]", "[18446744073709551612,18446744073709551615]"), 4,
                  "data_offsets"},
        BadHeader{"Gap", "{" + Entry("a", "F32", "[1]", "[0,4]") + "," + Entry("b", "F32", "[1]", "[8,12]") + "}", 12,
                  "tensor \"b\" begins at byte 8 of the data, the one before ends at 4: there is a gap"},
        BadHeader{"GapBefore", WithEntry("F32", "[1]", "[4,8]"), 8, "there is a gap"},
        BadHeader{"Overlap", "{" + Entry("a", "F32", "[2]", "[0,8]") + "," + Entry("b", "F32", "[2]", "[4,12]") + "}",
                  12, "tensor \"b\" begins at byte 4 of the data, the one before ends at 8: they overlap"},
        BadHeader{"SameBytes", "{" + Entry("a", "F32", "[2]", "[0,8]") + "," + Entry("b", "F32", "[2]", "[0,8]") + "}",
                  8, "they overlap"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(Safetensors, RefusesMoreTensorsThanTheLimit) {
  std::string header = "{";
  for (int i = 0; i < 5; ++i) {
    absl::StrAppend(&header, i == 0 ? "" : ",",
                    Entry(absl::StrCat("t", i), "F32", "[1]", absl::StrCat("[", 4 * i, ",", 4 * i + 4, "]")));
  }
  const std::vector<std::byte> file = File(header + "}", 20);
  EXPECT_TRUE(ParseSafetensors(file, "m", {.max_tensors = 5}).ok());
  ExpectRefused(file, "the header has 5 entries, the limit is 4", {.max_tensors = 4});
}

// Whatever is changed in a file, it is read or refused, and what is read lies within it.
TEST(Safetensors, SurvivesEveryChangedByteAndEveryCut) {
  const std::string header =
      absl::StrCat("{\"__metadata__\":{\"format\":\"pt\"},", Entry("a", "F32", "[2,3]", "[0,24]"), ",",
                   Entry("b", "BF16", "[4]", "[24,32]"), "}");
  const std::vector<std::byte> original = File(header, 32);
  const auto check = [](const std::vector<std::byte>& file) {
    const auto tensors = ParseSafetensors(file, "m");
    if (!tensors.ok()) {
      ASSERT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument) << tensors.status();
      return;
    }
    for (const StoredTensor& tensor : *tensors) {
      ASSERT_GE(tensor.bytes.data(), file.data());
      ASSERT_LE(tensor.bytes.data() + tensor.bytes.size(), file.data() + file.size());
      ASSERT_EQ(tensor.bytes.size(), static_cast<size_t>(tensor.rows() * tensor.cols() * GgmlBlockBytes(tensor.type)));
    }
  };
  for (size_t size = 0; size < original.size(); ++size) check({original.begin(), original.begin() + size});
  std::mt19937 random(1);
  const std::string likely = "0123456789[]{},:\"-.eE\\ \xff";
  for (size_t at = 0; at < 8 + header.size(); ++at) {
    for (int i = 0; i < 24; ++i) {
      std::vector<std::byte> changed = original;
      changed[at] = static_cast<std::byte>(i < 16 ? likely[random() % likely.size()] : static_cast<char>(random()));
      check(changed);
    }
  }
}

}  // namespace
}  // namespace slimfill::engine
