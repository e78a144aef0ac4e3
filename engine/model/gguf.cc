#include "engine/model/gguf.h"

#include <limits>
#include <unordered_map>
#include <utility>

#include "absl/base/call_once.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/model/gguf_parser.h"
#include "engine/model/mapped_file.h"
#include "engine/model/sha256.h"

namespace slimfill::engine {
namespace {

constexpr TensorNames kGgufNames = {
    .embedding = "token_embd",
    .output_norm = "output_norm",
    .output = "output",
    .layer = "blk.",
    .attention_norm = "attn_norm",
    .q = "attn_q",
    .k = "attn_k",
    .v = "attn_v",
    .q_norm = "attn_q_norm",
    .k_norm = "attn_k_norm",
    .attention_out = "attn_output",
    .ffn_norm = "ffn_norm",
    .gate = "ffn_gate",
    .up = "ffn_up",
    .down = "ffn_down",
    .llama_heads_interleaved = true,
    .rows_first = false,
};

absl::Status WrongType(const std::string& file, absl::string_view key, const char* wanted) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": key \"", key, "\" is not ", wanted));
}

}  // namespace

struct GgufFile::Impl {
  std::string name;
  MappedFile mapping;  // empty when the bytes are borrowed
  absl::Span<const std::byte> bytes;
  GgufContents contents;
  std::unordered_map<std::string, const StoredTensor*> tensors_by_name;

  mutable absl::once_flag sha256_once;
  mutable std::string sha256_hex;  // set by sha256_once

  // Null when the key is absent.
  const GgufValue* Find(absl::string_view key) const {
    const auto found = contents.metadata.find(key);
    return found == contents.metadata.end() ? nullptr : &found->second;
  }

  absl::StatusOr<const GgufValue*> Get(absl::string_view key) const {
    const GgufValue* value = Find(key);
    if (value == nullptr) return absl::NotFoundError(absl::StrCat(name, ": key \"", key, "\" is missing"));
    return value;
  }

  absl::StatusOr<const GgufArray*> GetArray(absl::string_view key, GgufArray::Kind kind, const char* wanted) const {
    SLIMFILL_ASSIGN_OR_RETURN(const GgufValue* value, Get(key));
    const auto* array = std::get_if<std::shared_ptr<GgufArray>>(value);
    if (array == nullptr || (*array)->kind != kind) return WrongType(name, key, wanted);
    return array->get();
  }
};

GgufFile::GgufFile() : impl_(std::make_unique<Impl>()) {}
GgufFile::~GgufFile() = default;

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path, const GgufLimits& limits) {
  SLIMFILL_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::Open(path));
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, Parse(mapping.bytes(), path, limits));
  file->impl_->mapping = std::move(mapping);
  return file;
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Parse(absl::Span<const std::byte> bytes, const std::string& name,
                                                          const GgufLimits& limits) {
  absl::StatusOr<GgufContents> contents = ParseGguf(bytes, limits);
  if (!contents.ok()) {
    return absl::Status(contents.status().code(), absl::StrCat(name, ": ", contents.status().message()));
  }
  std::unique_ptr<GgufFile> file(new GgufFile());
  Impl& impl = *file->impl_;
  impl.name = name;
  impl.bytes = bytes;
  impl.contents = *std::move(contents);
  for (const StoredTensor& tensor : impl.contents.tensors) impl.tensors_by_name.emplace(tensor.name, &tensor);
  return file;
}

const std::string& GgufFile::name() const { return impl_->name; }
const std::vector<StoredTensor>& GgufFile::tensors() const { return impl_->contents.tensors; }
const std::map<std::string, GgufValue, std::less<>>& GgufFile::metadata() const { return impl_->contents.metadata; }

const TensorNames& GgufFile::names() const { return kGgufNames; }

const StoredTensor* GgufFile::FindTensor(absl::string_view name) const {
  const auto found = impl_->tensors_by_name.find(std::string(name));
  return found == impl_->tensors_by_name.end() ? nullptr : found->second;
}

absl::StatusOr<int64_t> GgufFile::GetInt(absl::string_view key) const {
  SLIMFILL_ASSIGN_OR_RETURN(const GgufValue* value, impl_->Get(key));
  if (const auto* number = std::get_if<int64_t>(value)) return *number;
  const auto* number = std::get_if<uint64_t>(value);
  if (number == nullptr) return WrongType(name(), key, "an integer");
  if (*number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return absl::InvalidArgumentError(absl::StrCat(name(), ": key \"", key, "\" is ", *number, ", out of range"));
  }
  return static_cast<int64_t>(*number);
}

absl::StatusOr<double> GgufFile::GetFloat(absl::string_view key) const {
  SLIMFILL_ASSIGN_OR_RETURN(const GgufValue* value, impl_->Get(key));
  if (const auto* number = std::get_if<double>(value)) return *number;
  return WrongType(name(), key, "a floating-point number");
}

absl::StatusOr<bool> GgufFile::GetBool(absl::string_view key) const {
  SLIMFILL_ASSIGN_OR_RETURN(const GgufValue* value, impl_->Get(key));
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  return WrongType(name(), key, "a bool");
}

absl::StatusOr<std::string> GgufFile::GetString(absl::string_view key) const {
  SLIMFILL_ASSIGN_OR_RETURN(const GgufValue* value, impl_->Get(key));
  if (const auto* text = std::get_if<std::string>(value)) return *text;
  return WrongType(name(), key, "a string");
}

absl::StatusOr<const std::vector<std::string>*> GgufFile::GetStrings(absl::string_view key) const {
  SLIMFILL_ASSIGN_OR_RETURN(const GgufArray* array,
                            impl_->GetArray(key, GgufArray::Kind::kStrings, "an array of strings"));
  return &array->strings;
}

absl::StatusOr<const std::vector<int64_t>*> GgufFile::GetInts(absl::string_view key) const {
  SLIMFILL_ASSIGN_OR_RETURN(const GgufArray* array,
                            impl_->GetArray(key, GgufArray::Kind::kInts, "an array of integers"));
  return &array->ints;
}

std::string GgufFile::Sha256Hex() const {
  absl::call_once(impl_->sha256_once, [this] { impl_->sha256_hex = Sha256HexOf(impl_->bytes); });
  return impl_->sha256_hex;
}

}  // namespace slimfill::engine
