// Many threads on one small store. Run under ThreadSanitizer and AddressSanitizer it looks for races and for memory
// used after eviction; everywhere it asserts that no fetch returns a wrong byte and that nothing is left over.
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "kvstore/core/local_store.h"
#include "tests/kvstore/blocks.h"

namespace slimfill::kvstore {
namespace {

constexpr int kThreads = 6;
constexpr int kRounds = 400;
constexpr uint32_t kChains = 8;
constexpr uint32_t kChainBlocks = 8;
constexpr absl::Time kNoDeadline = absl::InfiniteFuture();

uint32_t Id(uint32_t chain, uint32_t block) { return 1 + chain * kChainBlocks + block; }
size_t SizeOf(uint32_t id) { return 3000 + id * 700; }

class Worker {
 public:
  Worker(LocalKvStore& store, FakeClock& clock, uint32_t seed) : store_(store), clock_(clock), random_(seed) {}

  void Run() {
    for (int round = 0; round < kRounds; ++round) {
      PutChain(random_() % kChains);
      ReadMatchedPrefix(random_() % kChains);
      UsePrivateBlocks();
      if (random_() % 16 == 0) store_.Delete({Key(Id(random_() % kChains, random_() % kChainBlocks))});
      if (random_() % 16 == 0) clock_.Advance(absl::Seconds(1));
      const StoreStats stats = store_.Stats(kNoDeadline).value();
      if (stats.bytes_used > stats.bytes_limit) ++failures;
    }
  }

  std::atomic<int> failures = 0;
  int hits = 0;

 private:
  void PutChain(uint32_t chain) {
    std::vector<std::vector<std::byte>> values;
    for (uint32_t block = 0; block < kChainBlocks; ++block) {
      values.push_back(Bytes(Id(chain, block), SizeOf(Id(chain, block))));
    }
    std::vector<PutItem> items;
    for (uint32_t block = 0; block < kChainBlocks; ++block) {
      items.push_back(Item(Key(Id(chain, block)), values[block], block == 0 ? BlockKey{} : Key(Id(chain, block - 1))));
    }
    if (!store_.Put(items, 0, kNoDeadline).ok()) ++failures;
  }

  void ReadMatchedPrefix(uint32_t chain) {
    std::vector<BlockKey> keys;
    for (uint32_t block = 0; block < kChainBlocks; ++block) keys.push_back(Key(Id(chain, block)));
    const PrefixMatch match = store_.MatchPrefix(keys, kNoDeadline).value();
    for (uint32_t block = 0; block < match.blocks; ++block) Check(Id(chain, block), Id(chain, block), match.lease);
    store_.Release(match.lease);
  }

  void UsePrivateBlocks() {
    const LeaseId lease = store_.OpenPrivate(kNoDeadline).value();
    const uint32_t id = 500, seed = static_cast<uint32_t>(random_());  // the same id in every worker
    const std::vector<std::byte> value = Bytes(seed, SizeOf(1));
    const auto statuses = store_.Put({Item(Key(id), value)}, lease, kNoDeadline);
    if (statuses.ok() && statuses->front().ok()) Check(id, seed, lease, SizeOf(1));
    if (random_() % 8 != 0) store_.Release(lease);  // some are left to run out
  }

  void Check(uint32_t id, uint32_t seed, LeaseId lease) { Check(id, seed, lease, SizeOf(id)); }

  // A miss is fine (leases run out while others advance the clock), wrong bytes never are.
  void Check(uint32_t id, uint32_t seed, LeaseId lease, size_t size) {
    std::vector<std::byte> got(size);
    const auto statuses = store_.Fetch({Into(Key(id), got)}, lease, kNoDeadline);
    if (statuses.ok() && statuses->front().ok()) {
      ++hits;
      if (got != Bytes(seed, size)) ++failures;
    } else if (!statuses.ok() || !absl::IsNotFound(statuses->front())) {
      ++failures;
    }
  }

  LocalKvStore& store_;
  FakeClock& clock_;
  std::mt19937 random_;
};

TEST(LocalKvStoreStress, ManyThreadsNeverReadAWrongByte) {
  FakeClock clock;
  const auto store = LocalKvStore::Create({.memory_bytes = 512 * 1024}, clock, nullptr).value();
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    workers.push_back(std::make_unique<Worker>(*store, clock, i + 1));
    threads.emplace_back([&worker = *workers.back()] { worker.Run(); });
  }
  for (std::thread& thread : threads) thread.join();
  int hits = 0;
  for (const auto& worker : workers) {
    EXPECT_EQ(worker->failures, 0);
    hits += worker->hits;
  }
  EXPECT_GT(hits, 0);
  clock.Advance(absl::Seconds(10));
  EXPECT_EQ(store->Stats(kNoDeadline)->leases, 0u);
  for (uint32_t pass = 0; pass < kChainBlocks; ++pass) {
    for (uint32_t id = 1; id <= kChains * kChainBlocks; ++id) store->Delete({Key(id)});
  }
  EXPECT_EQ(store->Stats(kNoDeadline)->bytes_used, 0u) << "a pin, link or buffer was lost";
}

}  // namespace
}  // namespace slimfill::kvstore
