// Builds GGUF files in memory, right ones and, field by field, wrong ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model/gguf.h"

namespace slimfill::testing {

// Bytes as a GGUF file holds them: little endian.
class GgufBytes {
 public:
  template <typename T>
  GgufBytes& Put(T value) {
    return PutBytes({reinterpret_cast<const std::byte*>(&value), sizeof(T)});
  }
  GgufBytes& PutString(absl::string_view text);  // its length as u64, then its bytes
  GgufBytes& PutBytes(absl::Span<const std::byte> bytes);
  GgufBytes& PadTo(size_t alignment);
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// Value types of metadata, numbered as in the file.
enum GgufValueType : uint32_t {
  kGgufUint8 = 0,
  kGgufInt8 = 1,
  kGgufUint16 = 2,
  kGgufInt16 = 3,
  kGgufUint32 = 4,
  kGgufInt32 = 5,
  kGgufFloat32 = 6,
  kGgufBool = 7,
  kGgufString = 8,
  kGgufArray = 9,
  kGgufUint64 = 10,
  kGgufInt64 = 11,
  kGgufFloat64 = 12,
};

class GgufBuilder {
 public:
  // What a file says of a tensor. For a wrong file, change it after AddTensor.
  struct TensorInfo {
    std::string name;
    std::vector<uint64_t> shape;
    uint32_t type;
    uint64_t offset;  // in the tensor data
  };

  GgufBuilder& SetInt(absl::string_view key, uint32_t value);
  GgufBuilder& SetFloat(absl::string_view key, float value);
  GgufBuilder& SetBool(absl::string_view key, bool value);
  GgufBuilder& SetString(absl::string_view key, absl::string_view value);
  GgufBuilder& SetStrings(absl::string_view key, const std::vector<std::string>& values);
  GgufBuilder& SetInts(absl::string_view key, const std::vector<int32_t>& values);
  // Any value, as it lies in the file after its type.
  GgufBuilder& SetRaw(absl::string_view key, uint32_t type, const GgufBytes& value);

  // Appends the tensor at the next aligned offset. shape[0] is the contiguous dimension.
  GgufBuilder& AddTensor(absl::string_view name, engine::GgmlType type, std::vector<uint64_t> shape,
                         absl::Span<const std::byte> data);
  GgufBuilder& AddF32(absl::string_view name, std::vector<uint64_t> shape, absl::Span<const float> values);

  // Fields to falsify. The counts are -1 while they are to be right.
  uint32_t magic = 0x46554747;
  uint32_t version = 3;
  int64_t key_count = -1;
  int64_t tensor_count = -1;
  size_t alignment = 32;  // of the offsets; setting it does not set general.alignment
  std::vector<TensorInfo>& tensors() { return tensors_; }

  std::vector<std::byte> Build() const;

 private:
  GgufBytes keys_;
  int64_t keys_added_ = 0;
  std::vector<TensorInfo> tensors_;
  GgufBytes data_;
};

}  // namespace slimfill::testing
