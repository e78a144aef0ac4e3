#include "kvstore/core/slab.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "gtest/gtest.h"

namespace slimfill::kvstore {
namespace {

constexpr uint64_t kBytes = 64 * Slab::kPageBytes;

std::unique_ptr<Slab> Make(bool shared) { return Slab::Create(kBytes, kBytes, shared).value(); }

uint64_t GenerationAt(const Slab& slab, uint64_t page) {
  uint64_t generation;
  EXPECT_EQ(pread(slab.file(), &generation, sizeof(generation), static_cast<off_t>(page * sizeof(generation))),
            static_cast<ssize_t>(sizeof(generation)));
  return generation;
}

class SlabTest : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Kinds, SlabTest, ::testing::Bool());

TEST_P(SlabTest, GivesOutAllItsPagesOnce) {
  const auto slab = Make(GetParam());
  std::byte* const first = slab->Allocate(kBytes / 2);
  std::byte* const second = slab->Allocate(kBytes / 2);
  ASSERT_TRUE(first != nullptr && second != nullptr);
  EXPECT_EQ(slab->Allocate(Slab::kPageBytes), nullptr);
  std::memset(first, 1, kBytes / 2);
  std::memset(second, 2, kBytes / 2);
  EXPECT_EQ(first[kBytes / 2 - 1], std::byte{1});
  slab->Free(first, kBytes / 2);
  EXPECT_EQ(slab->Allocate(kBytes / 2), first);
}

TEST_P(SlabTest, FreedPagesGoBackToTheSystem) {
  const auto slab = Make(GetParam());
  std::byte* const data = slab->Allocate(kBytes);
  std::memset(data, 7, kBytes);
  slab->Free(data, kBytes);
  EXPECT_EQ(slab->Allocate(kBytes)[5], std::byte{0}) << "the system gives fresh pages, which are zero";
}

TEST(Slab, FileShowsWhatIsStoredAndItsGeneration) {
  const auto slab = Make(true);
  slab->Allocate(Slab::kPageBytes);
  std::byte* const data = slab->Allocate(2 * Slab::kPageBytes);
  data[10] = std::byte{42};
  const SharedPlace place = slab->PlaceOf(data);
  std::byte seen{};
  ASSERT_EQ(pread(slab->file(), &seen, 1, static_cast<off_t>(place.offset + 10)), 1);
  EXPECT_EQ(seen, std::byte{42});
  EXPECT_EQ(GenerationAt(*slab, place.page), place.generation);
  slab->Invalidate(data);
  EXPECT_EQ(GenerationAt(*slab, place.page), place.generation + 1);
  EXPECT_EQ(slab->PlaceOf(data).generation, place.generation + 1);
}

TEST(Slab, NobodyCanShortenTheFile) {
  const auto slab = Make(true);
  EXPECT_NE(ftruncate(slab->file(), 0), 0);
  EXPECT_NE(fcntl(slab->file(), F_ADD_SEALS, F_SEAL_WRITE), 0) << "nor seal it otherwise";
}

TEST(Slab, TakesFewerAddressesWhereTheSystemHasNotAsMany) {
  const uint64_t impossible = uint64_t{1} << 60;
  const absl::StatusOr<std::unique_ptr<Slab>> slab = Slab::Create(impossible, 1 << 20, /*shared=*/false);
  ASSERT_TRUE(slab.ok()) << slab.status();
  EXPECT_GE((*slab)->file_pages() * Slab::kPageBytes, uint64_t{1} << 20);
  EXPECT_TRUE(absl::IsResourceExhausted(Slab::Create(impossible, impossible, false).status()));
}

}  // namespace
}  // namespace slimfill::kvstore
