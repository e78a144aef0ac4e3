#include "engine/model/gguf_parser.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace slimfill::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "values are read as they lie in a little-endian file");

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxTensorNameBytes = 64;
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMinAlignment = 8;

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

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status Within(const std::string& where, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(where, ": ", status.message()));
}

// Names come from the file: shown escaped and short.
std::string Quote(absl::string_view name) {
  constexpr size_t kShown = 80;
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, kShown)), name.size() > kShown ? "...\"" : "\"");
}

bool IsSupported(GgmlType type) { return GgmlBlockBytes(type) != 0; }

// Rounds up to a multiple of a power of two; false when the result does not fit.
bool AlignUp(uint64_t value, uint64_t alignment, uint64_t& result) {
  if (__builtin_add_overflow(value, alignment - 1, &result)) return false;
  result &= ~(alignment - 1);
  return true;
}

// Reads values one after another; never past the end.
class Cursor {
 public:
  explicit Cursor(absl::Span<const std::byte> bytes) : bytes_(bytes) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

  template <typename T>
  absl::StatusOr<T> Read() {
    if (remaining() < sizeof(T)) return EndsEarly(sizeof(T));
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  absl::StatusOr<std::string> ReadString(uint64_t max_bytes) {
    SLIMFILL_ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>());
    if (length > max_bytes) return Invalid("a string of ", length, " bytes is longer than the limit of ", max_bytes);
    if (length > remaining()) return EndsEarly(length);
    std::string value(reinterpret_cast<const char*>(bytes_.data() + position_), length);
    position_ += length;
    return value;
  }

  absl::StatusOr<bool> ReadBool() {
    SLIMFILL_ASSIGN_OR_RETURN(const uint8_t value, Read<uint8_t>());
    if (value > 1) return Invalid("a bool has the value ", value, ", it must be 0 or 1");
    return value == 1;
  }

 private:
  absl::Status EndsEarly(uint64_t wanted) const {
    return Invalid("the file ends early: ", wanted, " bytes are needed at offset ", position_, ", ", remaining(),
                   " are left; download the file again");
  }

  const absl::Span<const std::byte> bytes_;
  uint64_t position_ = 0;
};

// ---- Metadata ----

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

absl::Status ReadMetadata(Cursor& cursor, uint64_t count, const GgufLimits& limits, GgufContents& contents) {
  for (uint64_t i = 0; i < count; ++i) {
    absl::StatusOr<std::string> key = cursor.ReadString(kMaxKeyBytes);
    if (!key.ok()) return Within(absl::StrCat("key ", i, " of ", count), key.status());
    absl::StatusOr<GgufValue> value = ReadValue(cursor, limits);
    if (!value.ok()) return Within(absl::StrCat("key ", Quote(*key)), value.status());
    if (!contents.metadata.emplace(*key, *std::move(value)).second) {
      return Invalid("key ", Quote(*key), " occurs twice");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> Alignment(const GgufContents& contents, const GgufLimits& limits) {
  const auto found = contents.metadata.find("general.alignment");
  if (found == contents.metadata.end()) return kDefaultAlignment;
  const uint64_t* alignment = std::get_if<uint64_t>(&found->second);
  if (alignment == nullptr) return Invalid("key \"general.alignment\" is not an unsigned integer");
  if (!std::has_single_bit(*alignment) || *alignment < kMinAlignment || *alignment > limits.max_alignment) {
    return Invalid("key \"general.alignment\" is ", *alignment, ", it must be a power of two from ", kMinAlignment,
                   " to ", limits.max_alignment);
  }
  return *alignment;
}

// ---- Tensors ----

// A tensor as the header describes it, before the data section's start is known.
struct TensorInfo {
  GgufTensor tensor;
  uint64_t offset = 0;  // from the start of the data section
  uint64_t bytes = 0;
};

absl::StatusOr<std::vector<int64_t>> ReadShape(Cursor& cursor) {
  SLIMFILL_ASSIGN_OR_RETURN(const uint32_t dimensions, cursor.Read<uint32_t>());
  if (dimensions == 0 || dimensions > kMaxDimensions) {
    return Invalid("it has ", dimensions, " dimensions, supported are 1 to ", kMaxDimensions);
  }
  std::vector<int64_t> shape;
  int64_t elements = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    SLIMFILL_ASSIGN_OR_RETURN(const uint64_t size, cursor.Read<uint64_t>());
    if (size == 0) return Invalid("dimension ", i, " is 0");
    if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) ||
        __builtin_mul_overflow(elements, static_cast<int64_t>(size), &elements)) {
      return Invalid("dimension ", i, " of ", size, " makes the element count overflow");
    }
    shape.push_back(static_cast<int64_t>(size));
  }
  return shape;
}

// The bytes of a tensor. REQUIRES: the product of `shape` does not overflow.
absl::StatusOr<uint64_t> TensorBytes(GgmlType type, const std::vector<int64_t>& shape) {
  const int64_t block = GgmlBlockElements(type);
  if (shape[0] % block != 0) {
    return Invalid("its ", shape[0], " columns are not a multiple of the ", block, " elements of a ",
                   GgmlTypeName(type), " block");
  }
  uint64_t blocks = static_cast<uint64_t>(shape[0] / block);
  for (size_t i = 1; i < shape.size(); ++i) blocks *= static_cast<uint64_t>(shape[i]);
  uint64_t bytes;
  if (__builtin_mul_overflow(blocks, static_cast<uint64_t>(GgmlBlockBytes(type)), &bytes)) {
    return Invalid("its shape [", absl::StrJoin(shape, ", "), "] makes the byte count overflow");
  }
  return bytes;
}

absl::StatusOr<TensorInfo> ReadTensorInfo(Cursor& cursor, std::string name, uint64_t alignment) {
  TensorInfo info;
  info.tensor.name = std::move(name);
  SLIMFILL_ASSIGN_OR_RETURN(info.tensor.shape, ReadShape(cursor));
  SLIMFILL_ASSIGN_OR_RETURN(const uint32_t type, cursor.Read<uint32_t>());
  info.tensor.type = static_cast<GgmlType>(type);
  if (!IsSupported(info.tensor.type)) {
    return Invalid("its type ", type, " is not supported: use a file in F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, ",
                   "Q4_K, Q5_K or Q6_K");
  }
  SLIMFILL_ASSIGN_OR_RETURN(info.offset, cursor.Read<uint64_t>());
  if (info.offset % alignment != 0) {
    return Invalid("its offset ", info.offset, " is not a multiple of the alignment ", alignment);
  }
  SLIMFILL_ASSIGN_OR_RETURN(info.bytes, TensorBytes(info.tensor.type, info.tensor.shape));
  return info;
}

absl::StatusOr<std::vector<TensorInfo>> ReadTensorInfos(Cursor& cursor, uint64_t count, uint64_t alignment) {
  std::vector<TensorInfo> infos;
  std::set<std::string> names;
  for (uint64_t i = 0; i < count; ++i) {
    absl::StatusOr<std::string> name = cursor.ReadString(kMaxTensorNameBytes);
    if (!name.ok()) return Within(absl::StrCat("name of tensor ", i, " of ", count), name.status());
    if (!names.insert(*name).second) return Invalid("tensor ", Quote(*name), " occurs twice");
    absl::StatusOr<TensorInfo> info = ReadTensorInfo(cursor, *name, alignment);
    if (!info.ok()) return Within(absl::StrCat("tensor ", Quote(*name)), info.status());
    infos.push_back(*std::move(info));
  }
  return infos;
}

absl::Status CheckNoOverlap(const std::vector<TensorInfo>& infos) {
  std::vector<const TensorInfo*> by_offset;
  for (const TensorInfo& info : infos) by_offset.push_back(&info);
  std::sort(by_offset.begin(), by_offset.end(),
            [](const TensorInfo* a, const TensorInfo* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const TensorInfo& before = *by_offset[i - 1];
    if (by_offset[i]->offset - before.offset < before.bytes) {
      return Invalid("tensors ", Quote(before.tensor.name), " and ", Quote(by_offset[i]->tensor.name), " overlap");
    }
  }
  return absl::OkStatus();
}

// Points the tensors at their bytes, which follow the header at the next aligned position.
absl::Status PlaceTensors(absl::Span<const std::byte> file, uint64_t header_bytes, uint64_t alignment,
                          std::vector<TensorInfo> infos, GgufContents& contents) {
  if (infos.empty()) return absl::OkStatus();
  uint64_t start;
  if (!AlignUp(header_bytes, alignment, start) || start > file.size()) {
    return Invalid("the file ends before its tensors: the header has ", header_bytes, " bytes, the file ", file.size());
  }
  const uint64_t available = file.size() - start;
  for (const TensorInfo& info : infos) {
    if (info.offset > available || info.bytes > available - info.offset) {
      return Invalid("tensor ", Quote(info.tensor.name), " needs ", info.bytes, " bytes at offset ", info.offset,
                     " of the ", available, " bytes of tensor data: the file is cut off, download it again");
    }
  }
  SLIMFILL_RETURN_IF_ERROR(CheckNoOverlap(infos));
  for (TensorInfo& info : infos) {
    info.tensor.bytes = file.subspan(start + info.offset, info.bytes);
    contents.tensors.push_back(std::move(info.tensor));
  }
  return absl::OkStatus();
}

absl::Status CheckMagicAndVersion(Cursor& cursor) {
  SLIMFILL_ASSIGN_OR_RETURN(const uint32_t magic, cursor.Read<uint32_t>());
  if (magic != kMagic) return Invalid("this is not a GGUF file: it does not begin with \"GGUF\"");
  SLIMFILL_ASSIGN_OR_RETURN(const uint32_t version, cursor.Read<uint32_t>());
  if (version == 2 || version == 3) return absl::OkStatus();
  const uint32_t swapped = __builtin_bswap32(version);
  if (swapped == 2 || swapped == 3) return Invalid("big-endian GGUF is not supported: use a little-endian file");
  return Invalid("GGUF version ", version, " is not supported, versions 2 and 3 are: convert the model again");
}

}  // namespace

absl::StatusOr<GgufContents> ParseGguf(absl::Span<const std::byte> bytes, const GgufLimits& limits) {
  Cursor cursor(bytes);
  SLIMFILL_RETURN_IF_ERROR(CheckMagicAndVersion(cursor));
  SLIMFILL_ASSIGN_OR_RETURN(const uint64_t tensor_count, cursor.Read<uint64_t>());
  SLIMFILL_ASSIGN_OR_RETURN(const uint64_t key_count, cursor.Read<uint64_t>());
  if (tensor_count > limits.max_tensors) {
    return Invalid("the file claims ", tensor_count, " tensors, the limit is ", limits.max_tensors);
  }
  if (key_count > limits.max_keys) {
    return Invalid("the file claims ", key_count, " metadata keys, the limit is ", limits.max_keys);
  }
  GgufContents contents;
  SLIMFILL_RETURN_IF_ERROR(ReadMetadata(cursor, key_count, limits, contents));
  SLIMFILL_ASSIGN_OR_RETURN(const uint64_t alignment, Alignment(contents, limits));
  SLIMFILL_ASSIGN_OR_RETURN(std::vector<TensorInfo> infos, ReadTensorInfos(cursor, tensor_count, alignment));
  SLIMFILL_RETURN_IF_ERROR(PlaceTensors(bytes, cursor.position(), alignment, std::move(infos), contents));
  return contents;
}

}  // namespace slimfill::engine
