#include "kvstore/service/shm_session.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "base/metric_names.h"
#include "gtest/gtest.h"
#include "kvstore/api/checksum.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;

constexpr uint64_t kWindow = 1 << 20;

class ShmSessionTest : public ::testing::Test {
 protected:
  ShmSessionTest() {
    store_ = LocalKvStore::Create({.memory_bytes = 4 << 20, .shared_memory = true}, clock_, nullptr).value();
    slab_ = MappedRegion::ReadOnly(store_->slab().file(), store_->slab().file_bytes()).value();
    UniqueFd file;
    window_ = MappedRegion::Create("test", kWindow, &file).value();
    session_.emplace(*store_, MappedRegion::ReadOnly(file.get(), kWindow).value(), clock_, metrics_);
  }

  void Store(uint32_t id, size_t size) {
    ASSERT_TRUE(store_->PutOne(Item(Key(id), values_.emplace_back(Bytes(id, size))), 0).ok());
  }
  shm::Located Ask(const shm::Locate& request) {
    const shm::Welcome slab{.file_bytes = store_->slab().file_bytes(), .pages = store_->slab().file_pages()};
    return shm::ParseLocated(session_->Answer(shm::Encode(request)).value(), request, slab).value();
  }
  std::vector<uint32_t> Put(const shm::Put& request) {
    return shm::ParsePutDone(session_->Answer(shm::Encode(request)).value(), request)->codes;
  }
  uint64_t Generation(uint64_t page) const {
    return reinterpret_cast<const std::atomic<uint64_t>*>(slab_.bytes().data())[page].load();
  }
  Code FetchCode(uint32_t id, const std::vector<std::byte>& expected) {
    std::vector<std::byte> got(expected.size());
    const absl::Status status = store_->Fetch({Into(Key(id), got)}, 0, absl::InfiniteFuture())->front();
    if (status.ok()) {
      EXPECT_EQ(got, expected);
    }
    return status.code();
  }

  FakeClock clock_;
  Metrics metrics_;
  std::unique_ptr<LocalKvStore> store_;
  MappedRegion slab_, window_;
  std::optional<ShmSession> session_;
  std::vector<std::vector<std::byte>> values_;
};

TEST_F(ShmSessionTest, SaysWhereValuesLie) {
  Store(1, 200000);
  const shm::Located located = Ask({.items = {{Key(1), 70000, 100}}});
  ASSERT_EQ(located.items[0].code, 0u);
  EXPECT_EQ(located.items[0].value_bytes, 200000u);
  const absl::Span<const std::byte> value = slab_.bytes().subspan(located.items[0].offset, 200000);
  EXPECT_TRUE(std::equal(value.begin(), value.end(), values_[0].begin()));
  EXPECT_EQ(Generation(located.items[0].page), located.items[0].generation);
  const absl::Span<const std::byte> page = value.subspan(kChecksumPageBytes, kChecksumPageBytes);
  EXPECT_EQ(located.checksums, std::vector<uint64_t>{Checksum(Key(1), kChecksumPageBytes, page)});
  EXPECT_EQ(metrics_.Value(metric::kKvTransferBytes, {"fetch", "shm"}), 100);
}

TEST_F(ShmSessionTest, NamesMissesBadRangesAndWhatIsNotInTheSlab) {
  Store(1, 5000);
  Store(2, 100);
  const shm::Located located = Ask({.items = {{Key(9), 0, 1}, {Key(1), 4999, 2}, {Key(2), 0, 100}, {Key(1), 0, 5000}}});
  EXPECT_EQ(located.items[0].code, static_cast<uint32_t>(Code::kNotFound));
  EXPECT_EQ(located.items[1].code, static_cast<uint32_t>(Code::kOutOfRange));
  EXPECT_EQ(located.items[2].code, static_cast<uint32_t>(Code::kUnimplemented));
  EXPECT_EQ(located.items[3].code, 0u);
  EXPECT_EQ(located.checksums.size(), 1u);
}

TEST_F(ShmSessionTest, GenerationChangesBeforeTheMemoryIsUsedAgain) {
  Store(1, 50000);
  const shm::Located located = Ask({.items = {{Key(1), 0, 50000}}});
  ASSERT_TRUE(store_->Delete({Key(1)}).front().ok());
  EXPECT_NE(Generation(located.items[0].page), located.items[0].generation);
  Store(2, 50000);
  const shm::Located again = Ask({.items = {{Key(2), 0, 50000}}});
  EXPECT_EQ(again.items[0].offset, located.items[0].offset) << "the same memory";
  EXPECT_NE(again.items[0].generation, located.items[0].generation);
}

TEST_F(ShmSessionTest, StoresWhatLiesInTheWindow) {
  const std::vector<std::byte> first = Bytes(1, 70000), second = Bytes(2, 100);
  std::copy(first.begin(), first.end(), window_.writable().begin() + 10);
  std::copy(second.begin(), second.end(), window_.writable().end() - 100);
  EXPECT_EQ(Put({.items = {{Key(1), {}, 0, 10, 70000}, {Key(2), Key(1), 0, kWindow - 100, 100}}}),
            (std::vector<uint32_t>{0, 0}));
  EXPECT_EQ(FetchCode(1, first), Code::kOk);
  EXPECT_EQ(FetchCode(2, second), Code::kOk);
  EXPECT_EQ(store_->Delete({Key(1)}).front().code(), Code::kFailedPrecondition) << "its child came with its parent";
  EXPECT_EQ(metrics_.Value(metric::kKvTransferBytes, {"put", "shm"}), 70100);
}

TEST_F(ShmSessionTest, ItemsFailAlone) {
  EXPECT_EQ(Put({.items = {{Key(1), {}, 0, 0, 0}, {Key(2), {}, 0, 0, 1000}}}),
            (std::vector<uint32_t>{static_cast<uint32_t>(Code::kInvalidArgument), 0}));
  EXPECT_EQ(Put({.lease = 12345, .items = {{Key(3), {}, 0, 0, 1000}}}),
            std::vector<uint32_t>{static_cast<uint32_t>(Code::kNotFound)});
}

TEST_F(ShmSessionTest, HangsUpOnWhatIsNoRequest) {
  const auto code = [&](const shm::Bytes& message) { return session_->Answer(message).status().code(); };
  EXPECT_EQ(code({}), Code::kInvalidArgument);
  EXPECT_EQ(code(shm::Encode(shm::Hello{})), Code::kInvalidArgument);
  EXPECT_EQ(code(shm::Encode(shm::Put{.items = {{Key(1), {}, 0, kWindow - 9, 10}}})), Code::kInvalidArgument);
  EXPECT_EQ(code(shm::Encode(shm::Put{.items = {{Key(1), {}, 0, ~uint64_t{0}, 10}}})), Code::kInvalidArgument);
  EXPECT_EQ(code(shm::Encode(shm::Put{.items = {{Key(1), {}, 0, 8, ~uint64_t{0}}}})), Code::kInvalidArgument);
}

}  // namespace
}  // namespace slimfill::kvstore
