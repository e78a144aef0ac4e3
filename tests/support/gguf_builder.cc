#include "tests/support/gguf_builder.h"

#include <algorithm>
#include <utility>

namespace slimfill::testing {

GgufBytes& GgufBytes::PutString(absl::string_view text) {
  Put<uint64_t>(text.size());
  return PutBytes({reinterpret_cast<const std::byte*>(text.data()), text.size()});
}

GgufBytes& GgufBytes::PutBytes(absl::Span<const std::byte> bytes) {
  const size_t size = bytes_.size();
  bytes_.resize(size + bytes.size());
  std::copy(bytes.begin(), bytes.end(), bytes_.begin() + static_cast<ptrdiff_t>(size));
  return *this;
}

GgufBytes& GgufBytes::PadTo(size_t alignment) {
  bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
  return *this;
}

GgufBuilder& GgufBuilder::SetRaw(absl::string_view key, uint32_t type, const GgufBytes& value) {
  keys_.PutString(key).Put(type).PutBytes(value.bytes());
  ++keys_added_;
  return *this;
}

GgufBuilder& GgufBuilder::SetInt(absl::string_view key, uint32_t value) {
  return SetRaw(key, kGgufUint32, GgufBytes().Put(value));
}

GgufBuilder& GgufBuilder::SetFloat(absl::string_view key, float value) {
  return SetRaw(key, kGgufFloat32, GgufBytes().Put(value));
}

GgufBuilder& GgufBuilder::SetBool(absl::string_view key, bool value) {
  return SetRaw(key, kGgufBool, GgufBytes().Put<uint8_t>(value ? 1 : 0));
}

GgufBuilder& GgufBuilder::SetString(absl::string_view key, absl::string_view value) {
  return SetRaw(key, kGgufString, GgufBytes().PutString(value));
}

GgufBuilder& GgufBuilder::SetStrings(absl::string_view key, const std::vector<std::string>& values) {
  GgufBytes array;
  array.Put<uint32_t>(kGgufString).Put<uint64_t>(values.size());
  for (const std::string& value : values) array.PutString(value);
  return SetRaw(key, kGgufArray, array);
}

GgufBuilder& GgufBuilder::SetInts(absl::string_view key, const std::vector<int32_t>& values) {
  GgufBytes array;
  array.Put<uint32_t>(kGgufInt32).Put<uint64_t>(values.size());
  for (const int32_t value : values) array.Put(value);
  return SetRaw(key, kGgufArray, array);
}

GgufBuilder& GgufBuilder::AddTensor(absl::string_view name, engine::GgmlType type, std::vector<uint64_t> shape,
                                    absl::Span<const std::byte> data) {
  data_.PadTo(alignment);
  tensors_.push_back({std::string(name), std::move(shape), static_cast<uint32_t>(type), data_.bytes().size()});
  data_.PutBytes(data);
  return *this;
}

GgufBuilder& GgufBuilder::AddF32(absl::string_view name, std::vector<uint64_t> shape, absl::Span<const float> values) {
  return AddTensor(name, engine::GgmlType::kF32, std::move(shape),
                   {reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float)});
}

std::vector<std::byte> GgufBuilder::Build() const {
  GgufBytes file;
  file.Put(magic).Put(version);
  file.Put<uint64_t>(tensor_count >= 0 ? tensor_count : static_cast<int64_t>(tensors_.size()));
  file.Put<uint64_t>(key_count >= 0 ? key_count : keys_added_);
  file.PutBytes(keys_.bytes());
  for (const TensorInfo& tensor : tensors_) {
    file.PutString(tensor.name).Put(static_cast<uint32_t>(tensor.shape.size()));
    for (const uint64_t size : tensor.shape) file.Put(size);
    file.Put(tensor.type).Put(tensor.offset);
  }
  if (!tensors_.empty()) file.PadTo(alignment);
  return file.PutBytes(data_.bytes()).bytes();
}

}  // namespace slimfill::testing
