#include "kvstore/shm/mapped_region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace slimfill::kvstore {
namespace {

absl::StatusOr<absl::Span<std::byte>> Map(int file, uint64_t bytes, int protection) {
  if (bytes == 0) return absl::Span<std::byte>();
  void* mapped = mmap(nullptr, bytes, protection, MAP_SHARED | MAP_NORESERVE, file, 0);
  if (mapped == MAP_FAILED) return absl::ErrnoToStatus(errno, absl::StrCat("mmap of ", bytes, " bytes"));
  return absl::MakeSpan(static_cast<std::byte*>(mapped), bytes);
}

}  // namespace

MappedRegion::~MappedRegion() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

absl::StatusOr<MappedRegion> MappedRegion::ReadOnly(int file, uint64_t bytes) {
  struct stat found;
  const int seals = fcntl(file, F_GET_SEALS);
  if (fstat(file, &found) != 0 || seals < 0 || (seals & F_SEAL_SHRINK) == 0 ||
      static_cast<uint64_t>(found.st_size) < bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the shared file is no memory of ", bytes, " bytes that stays as long: pass a sealed memfd"));
  }
  SLIMFILL_ASSIGN_OR_RETURN(const absl::Span<std::byte> mapped, Map(file, bytes, PROT_READ));
  return MappedRegion(mapped);
}

absl::StatusOr<MappedRegion> MappedRegion::Create(const char* name, uint64_t bytes, UniqueFd* file) {
  SLIMFILL_ASSIGN_OR_RETURN(UniqueFd made, MakeMemoryFile(name, bytes));
  SLIMFILL_ASSIGN_OR_RETURN(const absl::Span<std::byte> mapped, Map(made.get(), bytes, PROT_READ | PROT_WRITE));
  *file = std::move(made);
  return MappedRegion(mapped);
}

absl::StatusOr<UniqueFd> ReopenReadOnly(int file) {
  UniqueFd reopened(open(absl::StrCat("/proc/self/fd/", file).c_str(), O_RDONLY | O_CLOEXEC));
  if (!reopened) return absl::ErrnoToStatus(errno, "a descriptor of shared memory for reading");
  return reopened;
}

}  // namespace slimfill::kvstore
