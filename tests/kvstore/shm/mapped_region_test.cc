#include "kvstore/shm/mapped_region.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

constexpr uint64_t kBytes = 8192;

TEST(MappedRegion, TwoMappingsOfOneFileShareTheirBytes) {
  UniqueFd file;
  MappedRegion ours = MappedRegion::Create("test", kBytes, &file).value();
  const MappedRegion theirs = MappedRegion::ReadOnly(file.get(), kBytes).value();
  ours.writable()[kBytes - 1] = std::byte{9};
  EXPECT_EQ(theirs.bytes()[kBytes - 1], std::byte{9});
}

TEST(MappedRegion, RefusesFilesThatCouldShrinkUnderIt) {
  const UniqueFd file(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(file.get(), kBytes), 0);
  EXPECT_TRUE(absl::IsInvalidArgument(MappedRegion::ReadOnly(file.get(), kBytes).status()));
  ASSERT_EQ(fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  EXPECT_TRUE(MappedRegion::ReadOnly(file.get(), kBytes).ok());
}

TEST(MappedRegion, RefusesFilesThatAreTooShortOrNone) {
  UniqueFd file;
  const MappedRegion ours = MappedRegion::Create("test", kBytes, &file).value();
  EXPECT_TRUE(absl::IsInvalidArgument(MappedRegion::ReadOnly(file.get(), kBytes + 1).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(MappedRegion::ReadOnly(-1, kBytes).status()));
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const UniqueFd out(pipe_ends[0]), in(pipe_ends[1]);
  EXPECT_TRUE(absl::IsInvalidArgument(MappedRegion::ReadOnly(out.get(), 0).status()));
}

TEST(MappedRegion, ReopenedDescriptorCannotWrite) {
  UniqueFd file;
  const MappedRegion ours = MappedRegion::Create("test", kBytes, &file).value();
  const UniqueFd reading = ReopenReadOnly(file.get()).value();
  EXPECT_TRUE(MappedRegion::ReadOnly(reading.get(), kBytes).ok());
  EXPECT_EQ(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, reading.get(), 0), MAP_FAILED);
  EXPECT_LT(pwrite(reading.get(), "x", 1, 0), 0);
}

}  // namespace
}  // namespace slimfill::kvstore
