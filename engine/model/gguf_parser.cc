#include "engine/model/gguf_parser.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "engine/model/gguf_cursor.h"
#include "engine/model/gguf_metadata.h"

namespace slimfill::engine {
namespace {

using gguf_internal::Cursor;
using gguf_internal::Invalid;
using gguf_internal::Quote;
using gguf_internal::Within;

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint64_t kMaxTensorNameBytes = 64;
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kDefaultAlignment = 32;
constexpr uint64_t kMinAlignment = 8;

bool IsSupported(GgmlType type) { return GgmlBlockBytes(type) != 0; }

// Rounds up to a multiple of a power of two; false when the result does not fit.
bool AlignUp(uint64_t value, uint64_t alignment, uint64_t& result) {
  if (__builtin_add_overflow(value, alignment - 1, &result)) return false;
  result &= ~(alignment - 1);
  return true;
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

// A tensor as the header describes it, before the data section's start is known.
struct TensorInfo {
  StoredTensor tensor;
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
  SLIMFILL_ASSIGN_OR_RETURN(contents.metadata, gguf_internal::ReadMetadata(cursor, key_count, limits));
  SLIMFILL_ASSIGN_OR_RETURN(const uint64_t alignment, Alignment(contents, limits));
  SLIMFILL_ASSIGN_OR_RETURN(std::vector<TensorInfo> infos, ReadTensorInfos(cursor, tensor_count, alignment));
  SLIMFILL_RETURN_IF_ERROR(PlaceTensors(bytes, cursor.position(), alignment, std::move(infos), contents));
  return contents;
}

}  // namespace slimfill::engine
