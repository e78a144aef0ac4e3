#include "kvstore/shm/protocol.h"

#include <cstring>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvstore/api/checksum.h"

namespace slimfill::kvstore::shm {
namespace {

enum class Kind : uint32_t { kHello = 1, kWelcome, kRefused, kLocate, kLocated, kPut, kPutDone };

constexpr uint32_t kMagic = 0x314b4653;  // "SFK1": another version of the messages is another number
constexpr uint32_t kMaxCode = static_cast<uint32_t>(absl::StatusCode::kUnauthenticated);

class Writer {
 public:
  explicit Writer(Kind kind) {
    Add(kMagic);
    Add(static_cast<uint32_t>(kind));
  }
  template <typename T>
  void Add(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    AddBytes(absl::MakeConstSpan(reinterpret_cast<const std::byte*>(&value), sizeof(value)));
  }
  void AddBytes(absl::Span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  Bytes Take() { return std::move(bytes_); }

 private:
  Bytes bytes_;
};

// After a first failed read all others fail too, so that only the last needs to be looked at.
class Reader {
 public:
  explicit Reader(absl::Span<const std::byte> bytes) : bytes_(bytes) {}
  template <typename T>
  T Get() {
    T value{};
    if (bytes_.size() < sizeof(T)) {
      failed_ = true;
      bytes_ = {};
      return value;
    }
    std::memcpy(&value, bytes_.data(), sizeof(T));
    bytes_.remove_prefix(sizeof(T));
    return value;
  }
  bool failed() const { return failed_; }
  bool complete() const { return !failed_ && bytes_.empty(); }
  absl::Span<const std::byte> rest() const { return bytes_; }

 private:
  absl::Span<const std::byte> bytes_;
  bool failed_ = false;
};

template <typename... Parts>
absl::Status Malformed(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("a message on the shared memory's socket is malformed: ", parts...));
}

template <typename... Parts>
absl::Status Senseless(const Parts&... parts) {
  return absl::DataLossError(absl::StrCat("the KV store's answer about shared memory makes no sense: ", parts...));
}

// The kind of a message of this version; 0 for anything else.
Kind ReadKind(Reader& reader) {
  const auto magic = reader.Get<uint32_t>();
  const auto kind = reader.Get<Kind>();
  return magic == kMagic && !reader.failed() ? kind : Kind{};
}

absl::StatusOr<uint32_t> ReadCount(Reader& reader) {
  const auto count = reader.Get<uint32_t>();
  if (!reader.failed() && count > 0 && count <= kMaxItems) return count;
  return Malformed(count, " items, the limits are 1 and ", kMaxItems);
}

}  // namespace

std::string SocketBeside(const std::string& unix_path) { return unix_path + ".shm"; }

Bytes Encode(const Hello& message) {
  Writer writer(Kind::kHello);
  writer.Add(message.token);
  writer.Add(message.window_bytes);
  return writer.Take();
}

Bytes Encode(const Welcome& message) {
  Writer writer(Kind::kWelcome);
  writer.Add(message.file_bytes);
  writer.Add(message.pages);
  return writer.Take();
}

Bytes EncodeRefused(absl::string_view reason) {
  Writer writer(Kind::kRefused);
  writer.AddBytes(absl::MakeConstSpan(reinterpret_cast<const std::byte*>(reason.data()), reason.size()));
  return writer.Take();
}

Bytes Encode(const Locate& message) {
  Writer writer(Kind::kLocate);
  writer.Add(message.lease);
  writer.Add(static_cast<uint32_t>(message.items.size()));
  for (const Locate::Item& item : message.items) {
    writer.Add(item.key);
    writer.Add(item.offset);
    writer.Add(item.length);
  }
  return writer.Take();
}

Bytes Encode(const Located& message) {
  Writer writer(Kind::kLocated);
  writer.Add(static_cast<uint32_t>(message.items.size()));
  for (const Located::Item& item : message.items) {
    writer.Add(item.code);
    writer.Add(item.offset);
    writer.Add(item.value_bytes);
    writer.Add(item.page);
    writer.Add(item.generation);
  }
  for (const uint64_t checksum : message.checksums) writer.Add(checksum);
  return writer.Take();
}

Bytes Encode(const Put& message) {
  Writer writer(Kind::kPut);
  writer.Add(message.lease);
  writer.Add(static_cast<uint32_t>(message.items.size()));
  for (const Put::Item& item : message.items) {
    writer.Add(item.key);
    writer.Add(item.parent);
    writer.Add(item.tenant);
    writer.Add(item.offset);
    writer.Add(item.length);
  }
  return writer.Take();
}

Bytes Encode(const PutDone& message) {
  Writer writer(Kind::kPutDone);
  for (const uint32_t code : message.codes) writer.Add(code);
  return writer.Take();
}

absl::StatusOr<Hello> ParseHello(absl::Span<const std::byte> bytes) {
  Reader reader(bytes);
  if (ReadKind(reader) != Kind::kHello) return Malformed("it is no greeting of this version");
  Hello hello;
  hello.token = reader.Get<std::array<uint8_t, 16>>();
  hello.window_bytes = reader.Get<uint64_t>();
  if (!reader.complete()) return Malformed("a greeting of ", bytes.size(), " bytes");
  if (hello.window_bytes > kMaxWindowBytes) {
    return Malformed("a window of ", hello.window_bytes, " bytes, the limit is ", kMaxWindowBytes);
  }
  return hello;
}

absl::StatusOr<Request> KindOf(absl::Span<const std::byte> bytes) {
  Reader reader(bytes);
  switch (ReadKind(reader)) {
    case Kind::kLocate:
      return Request::kLocate;
    case Kind::kPut:
      return Request::kPut;
    default:
      return Malformed("it is no request");
  }
}

absl::StatusOr<Locate> ParseLocate(absl::Span<const std::byte> bytes) {
  Reader reader(bytes);
  if (ReadKind(reader) != Kind::kLocate) return Malformed("it is no Locate");
  Locate locate;
  locate.lease = reader.Get<LeaseId>();
  SLIMFILL_ASSIGN_OR_RETURN(const uint32_t count, ReadCount(reader));
  locate.items.reserve(count);
  uint64_t total = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Locate::Item& item = locate.items.emplace_back();
    item.key = reader.Get<BlockKey>();
    item.offset = reader.Get<uint64_t>();
    item.length = reader.Get<uint64_t>();
    if (item.length > kMaxRangeBytes - total) return Malformed("ranges of more than ", kMaxRangeBytes, " bytes");
    total += item.length;
  }
  if (!reader.complete()) return Malformed("a Locate of ", count, " items in ", bytes.size(), " bytes");
  return locate;
}

absl::StatusOr<Put> ParsePut(absl::Span<const std::byte> bytes) {
  Reader reader(bytes);
  if (ReadKind(reader) != Kind::kPut) return Malformed("it is no Put");
  Put put;
  put.lease = reader.Get<LeaseId>();
  SLIMFILL_ASSIGN_OR_RETURN(const uint32_t count, ReadCount(reader));
  put.items.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    Put::Item& item = put.items.emplace_back();
    item.key = reader.Get<BlockKey>();
    item.parent = reader.Get<BlockKey>();
    item.tenant = reader.Get<uint64_t>();
    item.offset = reader.Get<uint64_t>();
    item.length = reader.Get<uint64_t>();
  }
  if (!reader.complete()) return Malformed("a Put of ", count, " items in ", bytes.size(), " bytes");
  return put;
}

absl::StatusOr<Welcome> ParseWelcome(absl::Span<const std::byte> bytes) {
  Reader reader(bytes);
  const Kind kind = ReadKind(reader);
  if (kind == Kind::kRefused) {
    const absl::Span<const std::byte> text = reader.rest();
    return absl::PermissionDeniedError(absl::string_view(reinterpret_cast<const char*>(text.data()), text.size()));
  }
  Welcome welcome;
  welcome.file_bytes = reader.Get<uint64_t>();
  welcome.pages = reader.Get<uint64_t>();
  if (kind != Kind::kWelcome || !reader.complete()) return Senseless("it is no welcome of this version");
  if (welcome.pages > welcome.file_bytes / sizeof(uint64_t)) {
    return Senseless(welcome.pages, " pages in a file of ", welcome.file_bytes, " bytes");
  }
  return welcome;
}

absl::StatusOr<Located> ParseLocated(absl::Span<const std::byte> bytes, const Locate& request, const Welcome& slab) {
  Reader reader(bytes);
  const Kind kind = ReadKind(reader);
  const auto count = reader.Get<uint32_t>();
  if (kind != Kind::kLocated || reader.failed() || count != request.items.size()) {
    return Senseless(count, " of ", request.items.size(), " items are located");
  }
  Located located;
  located.items.reserve(count);
  uint64_t pages = 0;
  for (const Locate::Item& asked : request.items) {
    Located::Item& item = located.items.emplace_back();
    item.code = reader.Get<uint32_t>();
    item.offset = reader.Get<uint64_t>();
    item.value_bytes = reader.Get<uint64_t>();
    item.page = reader.Get<uint64_t>();
    item.generation = reader.Get<uint64_t>();
    if (item.code > kMaxCode) return Senseless("code ", item.code);
    if (item.code != 0) continue;
    const bool in_file =
        item.page < slab.pages && item.offset <= slab.file_bytes && item.value_bytes <= slab.file_bytes - item.offset;
    const bool in_value = asked.offset <= item.value_bytes && asked.length <= item.value_bytes - asked.offset;
    if (!in_file || !in_value) {
      return Senseless("a value of ", item.value_bytes, " bytes at ", item.offset, " of ", slab.file_bytes);
    }
    pages += PagesOf(asked.offset, asked.length).size();
  }
  if (reader.rest().size() != pages * sizeof(uint64_t)) return Senseless(pages, " checksums are not as many bytes");
  located.checksums.reserve(pages);
  for (uint64_t page = 0; page < pages; ++page) located.checksums.push_back(reader.Get<uint64_t>());
  return located;
}

absl::StatusOr<PutDone> ParsePutDone(absl::Span<const std::byte> bytes, const Put& request) {
  Reader reader(bytes);
  if (ReadKind(reader) != Kind::kPutDone) return Senseless("it is no answer to a Put");
  PutDone done;
  for (size_t i = 0; i < request.items.size(); ++i) done.codes.push_back(reader.Get<uint32_t>());
  if (!reader.complete()) return Senseless("a Put of ", request.items.size(), " items in ", bytes.size(), " bytes");
  for (const uint32_t code : done.codes) {
    if (code > kMaxCode) return Senseless("code ", code);
  }
  return done;
}

}  // namespace slimfill::kvstore::shm
