#include "engine/model/gguf.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <unordered_map>
#include <utility>

#include "absl/base/call_once.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/model/gguf_parser.h"

namespace slimfill::engine {
namespace {

struct TypeTraits {
  const char* name;
  int64_t block_elements;
  int64_t block_bytes;
};

// All zero for a type we do not read.
TypeTraits TraitsOf(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return {"F32", 1, 4};
    case GgmlType::kF16:
      return {"F16", 1, 2};
    case GgmlType::kBF16:
      return {"BF16", 1, 2};
    case GgmlType::kQ4_0:
      return {"Q4_0", 32, 18};
    case GgmlType::kQ4_1:
      return {"Q4_1", 32, 20};
    case GgmlType::kQ5_0:
      return {"Q5_0", 32, 22};
    case GgmlType::kQ5_1:
      return {"Q5_1", 32, 24};
    case GgmlType::kQ8_0:
      return {"Q8_0", 32, 34};
    case GgmlType::kQ4_K:
      return {"Q4_K", 256, 144};
    case GgmlType::kQ5_K:
      return {"Q5_K", 256, 176};
    case GgmlType::kQ6_K:
      return {"Q6_K", 256, 210};
  }
  return {"unknown", 0, 0};
}

// A file mapped read-only; empty when default-constructed.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* address, size_t bytes) : address_(address), bytes_(bytes) {}
  Mapping(Mapping&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Mapping() {
    if (address_ != nullptr) ::munmap(address_, bytes_);
  }
  absl::Span<const std::byte> span() const { return {static_cast<const std::byte*>(address_), bytes_}; }

 private:
  void* address_ = nullptr;
  size_t bytes_ = 0;
};

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

absl::Status SystemError(const std::string& path, const char* action) {
  const int error = errno;
  return absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot ", action));
}

absl::StatusOr<Mapping> MapFile(const std::string& path) {
  // O_NONBLOCK: opening a pipe must not wait for its writer; it is refused below.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return SystemError(path, "open the model file");
  struct stat info;
  if (::fstat(file.get(), &info) != 0) return SystemError(path, "read the model file's size");
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  if (info.st_size == 0) return absl::InvalidArgumentError(absl::StrCat(path, ": the file is empty"));
  const size_t bytes = static_cast<size_t>(info.st_size);
  void* address = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (address == MAP_FAILED) return SystemError(path, "map the model file");
  return Mapping(address, bytes);
}

absl::Status WrongType(const std::string& file, absl::string_view key, const char* wanted) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": key \"", key, "\" is not ", wanted));
}

}  // namespace

const char* GgmlTypeName(GgmlType type) { return TraitsOf(type).name; }
int64_t GgmlBlockElements(GgmlType type) { return TraitsOf(type).block_elements; }
int64_t GgmlBlockBytes(GgmlType type) { return TraitsOf(type).block_bytes; }

int64_t GgufTensor::rows() const {
  int64_t rows = 1;
  for (size_t i = 1; i < shape.size(); ++i) rows *= shape[i];
  return rows;
}

struct GgufFile::Impl {
  std::string name;
  Mapping mapping;  // empty when the bytes are borrowed
  absl::Span<const std::byte> bytes;
  GgufContents contents;
  std::unordered_map<std::string, const GgufTensor*> tensors_by_name;

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
  SLIMFILL_ASSIGN_OR_RETURN(Mapping mapping, MapFile(path));
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<GgufFile> file, Parse(mapping.span(), path, limits));
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
  for (const GgufTensor& tensor : impl.contents.tensors) impl.tensors_by_name.emplace(tensor.name, &tensor);
  return file;
}

const std::string& GgufFile::name() const { return impl_->name; }
const std::vector<GgufTensor>& GgufFile::tensors() const { return impl_->contents.tensors; }
const std::map<std::string, GgufValue, std::less<>>& GgufFile::metadata() const { return impl_->contents.metadata; }

const GgufTensor* GgufFile::FindTensor(absl::string_view name) const {
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
  absl::call_once(impl_->sha256_once, [this] {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_bytes = 0;
    SLIMFILL_CHECK(EVP_Digest(impl_->bytes.data(), impl_->bytes.size(), digest, &digest_bytes, EVP_sha256(), nullptr) ==
                   1);
    impl_->sha256_hex = absl::BytesToHexString({reinterpret_cast<const char*>(digest), digest_bytes});
  });
  return impl_->sha256_hex;
}

}  // namespace slimfill::engine
