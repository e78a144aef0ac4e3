// Seeded random schedules against StoreModel, on a virtual clock. The store must agree with the model after every step;
// on top of that, what users rely on is asserted from the store's answers alone. SLIMFILL_MODEL_SCHEDULES says how many
// schedules run, for builds that are much slower.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "absl/strings/numbers.h"
#include "gtest/gtest.h"
#include "kvstore/core/local_store.h"
#include "tests/kvstore/blocks.h"
#include "tests/kvstore/core/store_model.h"

namespace slimfill::kvstore {
namespace {

using Code = absl::StatusCode;

constexpr uint32_t kSchedules = 10000;
constexpr int kSteps = 80;
constexpr uint32_t kChains = 3;
constexpr uint32_t kChainBlocks = 6;
constexpr uint64_t kMemory = 80 * 1024;
constexpr uint64_t kTenantMemory = 36 * 1024;
constexpr absl::Duration kTtl = absl::Seconds(10);
constexpr absl::Time kNoDeadline = absl::InfiniteFuture();

class Schedule {
 public:
  // Every other schedule gives each tenant a share; every chain is another tenant's, the first one nobody's.
  explicit Schedule(uint32_t seed) : random_(seed), tenant_bytes_(seed % 2 == 0 ? 0 : kTenantMemory) {}

  void Run() {
    for (int step = 0; step < kSteps && !::testing::Test::HasFailure(); ++step) {
      Step();
      CheckTotals();
    }
    CheckEveryBlock();
    CheckNothingIsLeftAfterAllLeasesEnd();
  }

 private:
  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
  // Ids 1.. in chains; the parent of a chain's first block is 0.
  uint32_t AnyId() { return 1 + Below(kChains * kChainBlocks); }
  static uint64_t TenantOf(uint32_t id) { return (id - 1) / kChainBlocks; }
  static uint32_t ParentOf(uint32_t id) { return (id - 1) % kChainBlocks == 0 ? 0 : id - 1; }
  LeaseId AnyLease() { return leases_.empty() ? 77 : leases_[Below(leases_.size())]; }
  LeaseId AnyLeaseOrNone() { return Below(2) == 0 ? 0 : AnyLease(); }

  void Step() {
    switch (Below(12)) {
      case 0:
        return Match();
      case 1:
        return OpenPrivate();
      case 2:
        return Advance();
      case 3:
        return Renew();
      case 4:
        return Release();
      case 5:
        return Below(8) == 0 ? Corrupt() : Delete();
      case 6:
      case 7:
        return PutPrivate();
      case 8:
      case 9:
        return PutShared();
      default:
        return Fetch(AnyId(), AnyLeaseOrNone());
    }
  }

  void Match() {
    std::vector<uint32_t> ids;
    const uint32_t chain = Below(kChains);
    for (uint32_t i = Below(8) == 0 ? 1 : 0; i < kChainBlocks; ++i) ids.push_back(1 + chain * kChainBlocks + i);
    std::vector<BlockKey> keys;
    for (uint32_t id : ids) keys.push_back(Key(id));
    const absl::StatusOr<PrefixMatch> match = store_->MatchPrefix(keys, kNoDeadline);
    ASSERT_TRUE(match.ok()) << match.status();
    ASSERT_EQ(match->blocks, model_.MatchedBlocks(ids));
    ASSERT_EQ(match->lease != 0, match->blocks > 0);
    if (match->blocks == 0) return;
    model_.OpenPrefix(match->lease, ids, match->blocks);
    leases_.push_back(match->lease);
  }

  void OpenPrivate() {
    const LeaseId lease = store_->OpenPrivate(kNoDeadline).value();
    model_.OpenPrivate(lease);
    leases_.push_back(lease);
  }

  void Advance() {
    clock_.Advance(absl::Milliseconds(1 + Below(6000)));
    model_.AdvanceTo(clock_.Now());
  }

  void Renew() {
    const LeaseId lease = AnyLease();
    ASSERT_EQ(store_->Renew(lease, kNoDeadline).code(), model_.Renew(lease));
  }

  void Release() {
    const LeaseId lease = AnyLease();
    store_->Release(lease);
    model_.Release(lease);
  }

  void PutShared() {
    // Mostly a whole chain in order, as an engine does; sometimes any block, so that parents come late or never.
    if (Below(3) != 0) {
      const uint32_t chain = Below(kChains), length = 1 + Below(kChainBlocks);
      for (uint32_t i = 0; i < length; ++i) Put(1 + chain * kChainBlocks + i, 0);
    } else {
      Put(AnyId(), 0);
    }
  }

  void PutPrivate() { Put(AnyId(), AnyLease()); }

  void Put(uint32_t id, LeaseId lease) {
    const StoreModel::Value value{.seed = static_cast<uint32_t>(random_()), .size = AnySize()};
    const std::vector<std::byte> bytes = Bytes(value.seed, value.size);
    const uint32_t parent = ParentOf(id);
    PutItem item = Item(Key(id), bytes, parent == 0 ? BlockKey{} : Key(parent));
    item.tenant = TenantOf(id);
    const auto statuses = store_->Put({item}, lease, kNoDeadline);
    ASSERT_TRUE(statuses.ok()) << statuses.status();
    ASSERT_EQ(statuses->front().code(), model_.Put(id, parent, TenantOf(id), value, lease)) << statuses->front();
  }

  size_t AnySize() { return Below(10) == 0 ? 32768 + Below(60000) : 1 + Below(9000); }

  void Fetch(uint32_t id, LeaseId lease) {
    const bool leased = model_.IsLeased(id);
    const std::optional<StoreModel::Value> expected = model_.Fetch(id, lease);
    const size_t size = expected.has_value() ? expected->size : 10;
    std::vector<std::byte> got(size);
    const auto statuses = store_->Fetch({Into(Key(id), got)}, lease, kNoDeadline);
    ASSERT_TRUE(statuses.ok()) << statuses.status();
    const Code code = statuses->front().code();
    ASSERT_EQ(code, !expected.has_value() ? Code::kNotFound : (expected->corrupt ? Code::kDataLoss : Code::kOk));
    if (code == Code::kOk) {
      ASSERT_EQ(got, Bytes(expected->seed, size)) << "a wrong byte";
    }
    ASSERT_FALSE(leased && code == Code::kNotFound) << "a leased block vanished";
  }

  void Corrupt() {
    const uint32_t id = AnyId();
    if (!model_.IsPresent({0, id})) return;
    const absl::StatusOr<ValueRange> range = store_->Read(Key(id), 0, 1, 0);
    const std::optional<StoreModel::Value> value = model_.Fetch(id, 0);
    ASSERT_EQ(range.ok(), !value->corrupt);
    if (!range.ok()) return;
    const_cast<std::byte&>(range->bytes[0]) ^= std::byte{0x10};
    model_.Corrupt(id, 0);
  }

  void Delete() {
    const uint32_t id = AnyId();
    ASSERT_EQ(store_->Delete({Key(id)}).front().code(), model_.Delete(id));
  }

  void CheckTotals() {
    const StoreStats stats = store_->Stats(kNoDeadline).value();
    ASSERT_LE(stats.bytes_used, kMemory);
    ASSERT_EQ(stats.bytes_used, model_.bytes_used());
    for (uint64_t tenant = 1; tenant < kChains && tenant_bytes_ > 0; ++tenant) {
      ASSERT_LE(model_.bytes_of(tenant), tenant_bytes_);
    }
    ASSERT_EQ(stats.blocks, model_.blocks());
    ASSERT_EQ(stats.leases, model_.leases());
    ASSERT_EQ(stats.evictions, model_.counters().evictions);
    ASSERT_EQ(stats.hits, model_.counters().hits);
    ASSERT_EQ(stats.misses, model_.counters().misses);
    ASSERT_EQ(stats.puts, model_.counters().puts);
    ASSERT_EQ(stats.puts_refused, model_.counters().puts_refused);
  }

  void CheckEveryBlock() {
    for (uint32_t id = 1; id <= kChains * kChainBlocks; ++id) {
      if (model_.IsPresent({0, id}) && model_.ParentOf(id).has_value()) {
        ASSERT_NE(store_->Read(Key(*model_.ParentOf(id)), 0, 1, 0).status().code(), Code::kNotFound)
            << "block " << id << " outlived its parent";
        model_.Fetch(*model_.ParentOf(id), 0);
      }
      Fetch(id, 0);
      for (LeaseId lease : leases_) Fetch(id, lease);
    }
  }

  void CheckNothingIsLeftAfterAllLeasesEnd() {
    clock_.Advance(kTtl);
    model_.AdvanceTo(clock_.Now());
    CheckTotals();
    ASSERT_EQ(store_->Stats(kNoDeadline)->leases, 0u);
    for (uint32_t pass = 0; pass < kChains * kChainBlocks; ++pass) {  // every chain goes back to front
      for (uint32_t id = 1; id <= kChains * kChainBlocks; ++id) store_->Delete({Key(id)});
    }
    ASSERT_EQ(store_->Stats(kNoDeadline)->bytes_used, 0u);
  }

  std::mt19937 random_;
  const uint64_t tenant_bytes_;
  FakeClock clock_;
  std::unique_ptr<LocalKvStore> store_ =
      LocalKvStore::Create({.memory_bytes = kMemory, .tenant_bytes = tenant_bytes_, .lease_ttl = kTtl}, clock_, nullptr)
          .value();
  StoreModel model_{kMemory, tenant_bytes_, kTtl};
  std::vector<LeaseId> leases_;  // every lease ever opened, ended ones too
};

uint32_t Schedules() {
  const char* wanted = std::getenv("SLIMFILL_MODEL_SCHEDULES");
  if (wanted == nullptr) return kSchedules;
  uint32_t schedules = 0;
  EXPECT_TRUE(absl::SimpleAtoi(wanted, &schedules) && schedules > 0)
      << "SLIMFILL_MODEL_SCHEDULES is '" << wanted << "': give a number above 0";
  return schedules;
}

TEST(LocalKvStoreModel, AgreesWithTheModelOnRandomSchedules) {
  const uint32_t schedules = Schedules();
  for (uint32_t seed = 1; seed <= schedules; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Schedule(seed).Run();
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace slimfill::kvstore
