#include "kvstore/client/shm_connection.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvstore/api/checksum.h"
#include "kvstore/api/checksummed_copy.h"
#include "kvstore/api/limits.h"

namespace slimfill::kvstore {
namespace {

// As many items as one Locate may have, from the first on.
shm::Locate FirstLocate(absl::Span<const FetchItem> items, LeaseId lease) {
  shm::Locate request{.lease = lease};
  uint64_t bytes = 0;
  for (const FetchItem& item : items) {
    bytes += item.destination.size();
    if (request.items.size() == shm::kMaxItems || bytes > shm::kMaxRangeBytes) break;
    request.items.push_back({item.key, item.offset, item.destination.size()});
  }
  return request;
}

absl::Status StatusOf(uint32_t code, const char* what) {
  if (code == 0) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(code), absl::StrCat("the KV store's answer to a block's ", what));
}

}  // namespace

class ShmConnection::Turn {
 public:
  // Waits until `deadline` at most; then it is nobody's.
  Turn(ShmConnection& connection, absl::Time deadline) : connection_(connection) {
    absl::MutexLock lock(&connection_.mutex_);
    const auto free = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(connection_.mutex_) { return !connection_.busy_; };
    taken_ = connection_.mutex_.AwaitWithDeadline(absl::Condition(&free), deadline);
    if (taken_) connection_.busy_ = true;
  }
  ~Turn() {
    if (!taken_) return;
    absl::MutexLock lock(&connection_.mutex_);
    connection_.busy_ = false;
  }
  bool taken() const { return taken_; }

 private:
  ShmConnection& connection_;
  bool taken_ = false;
};

absl::StatusOr<std::unique_ptr<ShmConnection>> ShmConnection::Open(const std::string& socket_path,
                                                                   const std::string& token, uint64_t window_bytes,
                                                                   absl::Time deadline) {
  shm::Hello hello{.token = {}, .window_bytes = window_bytes};
  if (token.size() != hello.token.size()) {
    return absl::InternalError(absl::StrCat("the KV store gave a token of ", token.size(), " bytes"));
  }
  std::copy(token.begin(), token.end(), hello.token.begin());
  UniqueFd window_file;
  SLIMFILL_ASSIGN_OR_RETURN(MappedRegion window,
                            MappedRegion::Create("slimfill-kv-window", window_bytes, &window_file));
  SLIMFILL_ASSIGN_OR_RETURN(ShmSocket socket, ShmSocket::Connect(socket_path));
  SLIMFILL_RETURN_IF_ERROR(socket.Send(shm::Encode(hello), window_file.get(), deadline));
  UniqueFd slab_file;
  SLIMFILL_ASSIGN_OR_RETURN(const absl::Span<const std::byte> answer, socket.Receive(&slab_file, deadline));
  SLIMFILL_ASSIGN_OR_RETURN(const shm::Welcome slab, shm::ParseWelcome(answer));
  SLIMFILL_ASSIGN_OR_RETURN(MappedRegion memory, MappedRegion::ReadOnly(slab_file.get(), slab.file_bytes));
  return std::unique_ptr<ShmConnection>(
      new ShmConnection(std::move(socket), slab, std::move(memory), std::move(window)));
}

template <typename Parse>
auto ShmConnection::Exchange(const shm::Bytes& request, absl::Time deadline, const Parse& parse)
    -> decltype(parse(absl::Span<const std::byte>())) {
  if (broken()) return absl::UnavailableError("the connection to the KV store's memory is broken");
  broken_.store(true, std::memory_order_relaxed);
  SLIMFILL_RETURN_IF_ERROR(socket_.Send(request, -1, deadline));
  SLIMFILL_ASSIGN_OR_RETURN(const absl::Span<const std::byte> bytes, socket_.Receive(nullptr, deadline));
  auto answer = parse(bytes);
  broken_.store(!answer.ok(), std::memory_order_relaxed);
  return answer;
}

absl::StatusOr<shm::Located> ShmConnection::Locate(const shm::Locate& request, absl::Time deadline) {
  const shm::Bytes encoded = shm::Encode(request);
  const Turn turn(*this, deadline);
  if (!turn.taken()) return DeadlineExpired();
  return Exchange(encoded, deadline,
                  [&](absl::Span<const std::byte> answer) { return shm::ParseLocated(answer, request, slab_); });
}

absl::StatusOr<ShmConnection::ItemStatuses> ShmConnection::Fetch(absl::Span<const FetchItem> items, LeaseId lease,
                                                                 absl::Time deadline) {
  ItemStatuses statuses;
  statuses.reserve(items.size());
  while (statuses.size() < items.size()) {
    const absl::Span<const FetchItem> left = items.subspan(statuses.size());
    const shm::Locate request = FirstLocate(left, lease);
    if (request.items.empty()) {  // longer than any message may ask for
      statuses.push_back(std::nullopt);
      continue;
    }
    SLIMFILL_ASSIGN_OR_RETURN(const shm::Located located, Locate(request, deadline));
    absl::Span<const uint64_t> checksums = located.checksums;
    for (size_t i = 0; i < located.items.size(); ++i) {
      const shm::Located::Item& place = located.items[i];
      if (place.code == static_cast<uint32_t>(absl::StatusCode::kUnimplemented)) {
        statuses.push_back(std::nullopt);
      } else if (place.code != 0) {
        statuses.push_back(StatusOf(place.code, "fetch"));
      } else {
        const size_t pages = PagesOf(left[i].offset, left[i].destination.size()).size();
        const bool copied = CopyVerified(left[i].key, memory_.bytes().subspan(place.offset, place.value_bytes),
                                         checksums.subspan(0, pages), left[i].offset, left[i].destination) &&
                            StillThere(place);
        statuses.push_back(copied ? std::make_optional(absl::OkStatus()) : std::nullopt);
        checksums.remove_prefix(pages);
      }
    }
  }
  return statuses;
}

bool ShmConnection::StillThere(const shm::Located::Item& place) const {
  // The reader's half of a sequence lock: everything above was read before the generation is.
  std::atomic_thread_fence(std::memory_order_acquire);
  const auto* generations = reinterpret_cast<const std::atomic<uint64_t>*>(memory_.bytes().data());
  return generations[place.page].load(std::memory_order_relaxed) == place.generation;
}

absl::StatusOr<ShmConnection::ItemStatuses> ShmConnection::Put(absl::Span<const PutItem> items, LeaseId lease,
                                                               absl::Time deadline) {
  ItemStatuses statuses;
  statuses.reserve(items.size());
  while (statuses.size() < items.size()) {
    SLIMFILL_ASSIGN_OR_RETURN(const shm::PutDone done, PutWindow(items.subspan(statuses.size()), lease, deadline));
    if (done.codes.empty()) statuses.push_back(std::nullopt);
    for (const uint32_t code : done.codes) statuses.push_back(StatusOf(code, "put"));
  }
  return statuses;
}

absl::StatusOr<shm::PutDone> ShmConnection::PutWindow(absl::Span<const PutItem> items, LeaseId lease,
                                                      absl::Time deadline) {
  const Turn turn(*this, deadline);
  if (!turn.taken()) return DeadlineExpired();
  const shm::Put request = FillWindow(items, lease);
  if (request.items.empty()) return shm::PutDone();
  return Exchange(shm::Encode(request), deadline,
                  [&](absl::Span<const std::byte> answer) { return shm::ParsePutDone(answer, request); });
}

shm::Put ShmConnection::FillWindow(absl::Span<const PutItem> items, LeaseId lease) {
  const absl::Span<std::byte> window = window_.writable();
  shm::Put request{.lease = lease};
  uint64_t used = 0;
  for (const PutItem& item : items) {
    const uint64_t bytes = ValueBytes(item);
    if (request.items.size() == shm::kMaxItems || bytes > window.size() - used) break;
    request.items.push_back({item.key, item.parent, item.tenant, used, bytes});
    for (const absl::Span<const std::byte> part : item.parts) {
      std::memcpy(window.data() + used, part.data(), part.size());
      used += part.size();
    }
  }
  return request;
}

}  // namespace slimfill::kvstore
