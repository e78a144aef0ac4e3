#include "engine/model/gguf_metadata.h"

#include <limits>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace slimfill::engine::gguf_internal {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535;

// Value types of metadata, numbered as in the file.
enum class ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// Appends `count` values of a type T in the file. The count was checked against the bytes left.
template <typename T, typename Wide>
absl::Status AppendNumbers(Cursor& cursor, uint64_t count, std::vector<Wide>& out) {
  out.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    SLIMFILL_ASSIGN_OR_RETURN(const T value, cursor.Read<T>());
    if constexpr (std::is_same_v<T, uint64_t>) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return Invalid("element ", i, " is ", value, ", larger than a signed 64-bit integer");
      }
    }
    out.push_back(static_cast<Wide>(value));
  }
  return absl::OkStatus();
}

absl::Status AppendBools(Cursor& cursor, uint64_t count, std::vector<int64_t>& out) {
  out.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    SLIMFILL_ASSIGN_OR_RETURN(const bool value, cursor.ReadBool());
    out.push_back(value ? 1 : 0);
  }
  return absl::OkStatus();
}

absl::Status AppendStrings(Cursor& cursor, uint64_t count, uint64_t max_bytes, std::vector<std::string>& out) {
  out.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    SLIMFILL_ASSIGN_OR_RETURN(std::string value, cursor.ReadString(max_bytes));
    out.push_back(std::move(value));
  }
  return absl::OkStatus();
}

// The bytes of an element, or the least a string takes (its length); 0 for a type that may not be in an array.
uint64_t MinElementBytes(ValueType type) {
  switch (type) {
    case ValueType::kUint8:
    case ValueType::kInt8:
    case ValueType::kBool:
      return 1;
    case ValueType::kUint16:
    case ValueType::kInt16:
      return 2;
    case ValueType::kUint32:
    case ValueType::kInt32:
    case ValueType::kFloat32:
      return 4;
    case ValueType::kString:
    case ValueType::kUint64:
    case ValueType::kInt64:
    case ValueType::kFloat64:
      return 8;
    case ValueType::kArray:
      break;
  }
  return 0;
}

GgufArray::Kind KindOf(ValueType type) {
  switch (type) {
    case ValueType::kString:
      return GgufArray::Kind::kStrings;
    case ValueType::kFloat32:
    case ValueType::kFloat64:
      return GgufArray::Kind::kFloats;
    default:
      return GgufArray::Kind::kInts;
  }
}

absl::Status ReadElements(Cursor& cursor, ValueType type, uint64_t count, const GgufLimits& limits, GgufArray& array) {
  switch (type) {
    case ValueType::kUint8:
      return AppendNumbers<uint8_t>(cursor, count, array.ints);
    case ValueType::kInt8:
      return AppendNumbers<int8_t>(cursor, count, array.ints);
    case ValueType::kUint16:
      return AppendNumbers<uint16_t>(cursor, count, array.ints);
    case ValueType::kInt16:
      return AppendNumbers<int16_t>(cursor, count, array.ints);
    case ValueType::kUint32:
      return AppendNumbers<uint32_t>(cursor, count, array.ints);
    case ValueType::kInt32:
      return AppendNumbers<int32_t>(cursor, count, array.ints);
    case ValueType::kUint64:
      return AppendNumbers<uint64_t>(cursor, count, array.ints);
    case ValueType::kInt64:
      return AppendNumbers<int64_t>(cursor, count, array.ints);
    case ValueType::kFloat32:
      return AppendNumbers<float>(cursor, count, array.floats);
    case ValueType::kFloat64:
      return AppendNumbers<double>(cursor, count, array.floats);
    case ValueType::kBool:
      return AppendBools(cursor, count, array.ints);
    case ValueType::kString:
      return AppendStrings(cursor, count, limits.max_string_bytes, array.strings);
    case ValueType::kArray:
      break;
  }
  return Invalid("arrays of type ", static_cast<uint32_t>(type), " are not supported");
}

absl::StatusOr<GgufValue> ReadArray(Cursor& cursor, const GgufLimits& limits) {
  SLIMFILL_ASSIGN_OR_RETURN(const uint32_t raw_type, cursor.Read<uint32_t>());
  SLIMFILL_ASSIGN_OR_RETURN(const uint64_t count, cursor.Read<uint64_t>());
  const auto type = static_cast<ValueType>(raw_type);
  const uint64_t element_bytes = MinElementBytes(type);
  if (element_bytes == 0) {
    return Invalid(type == ValueType::kArray ? "nested arrays are" : "an array's element type is",
                   " not supported (type ", raw_type, ")");
  }
  if (count > limits.max_array_elements) {
    return Invalid("an array of ", count, " elements is longer than the limit of ", limits.max_array_elements);
  }
  if (count > cursor.remaining() / element_bytes) {
    return Invalid("an array claims ", count, " elements of at least ", element_bytes, " bytes, the file has ",
                   cursor.remaining(), " bytes left");
  }
  auto array = std::make_shared<GgufArray>();
  array->kind = KindOf(type);
  SLIMFILL_RETURN_IF_ERROR(ReadElements(cursor, type, count, limits, *array));
  return GgufValue(std::move(array));
}

// Reads a T and widens it.
template <typename T, typename Wide>
absl::StatusOr<GgufValue> ReadScalar(Cursor& cursor) {
  SLIMFILL_ASSIGN_OR_RETURN(const T value, cursor.Read<T>());
  return GgufValue(static_cast<Wide>(value));
}

absl::StatusOr<GgufValue> ReadValue(Cursor& cursor, const GgufLimits& limits) {
  SLIMFILL_ASSIGN_OR_RETURN(const uint32_t type, cursor.Read<uint32_t>());
  switch (static_cast<ValueType>(type)) {
    case ValueType::kUint8:
      return ReadScalar<uint8_t, uint64_t>(cursor);
    case ValueType::kInt8:
      return ReadScalar<int8_t, int64_t>(cursor);
    case ValueType::kUint16:
      return ReadScalar<uint16_t, uint64_t>(cursor);
    case ValueType::kInt16:
      return ReadScalar<int16_t, int64_t>(cursor);
    case ValueType::kUint32:
      return ReadScalar<uint32_t, uint64_t>(cursor);
    case ValueType::kInt32:
      return ReadScalar<int32_t, int64_t>(cursor);
    case ValueType::kUint64:
      return ReadScalar<uint64_t, uint64_t>(cursor);
    case ValueType::kInt64:
      return ReadScalar<int64_t, int64_t>(cursor);
    case ValueType::kFloat32:
      return ReadScalar<float, double>(cursor);
    case ValueType::kFloat64:
      return ReadScalar<double, double>(cursor);
    case ValueType::kBool: {
      SLIMFILL_ASSIGN_OR_RETURN(const bool value, cursor.ReadBool());
      return GgufValue(value);
    }
    case ValueType::kString: {
      SLIMFILL_ASSIGN_OR_RETURN(std::string value, cursor.ReadString(limits.max_string_bytes));
      return GgufValue(std::move(value));
    }
    case ValueType::kArray:
      return ReadArray(cursor, limits);
  }
  return Invalid("value type ", type, " is unknown");
}

}  // namespace

absl::StatusOr<std::map<std::string, GgufValue, std::less<>>> ReadMetadata(Cursor& cursor, uint64_t count,
                                                                           const GgufLimits& limits) {
  std::map<std::string, GgufValue, std::less<>> metadata;
  for (uint64_t i = 0; i < count; ++i) {
    absl::StatusOr<std::string> key = cursor.ReadString(kMaxKeyBytes);
    if (!key.ok()) return Within(absl::StrCat("key ", i, " of ", count), key.status());
    absl::StatusOr<GgufValue> value = ReadValue(cursor, limits);
    if (!value.ok()) return Within(absl::StrCat("key ", Quote(*key)), value.status());
    if (!metadata.emplace(*key, *std::move(value)).second) {
      return Invalid("key ", Quote(*key), " occurs twice");
    }
  }
  return metadata;
}

}  // namespace slimfill::engine::gguf_internal
