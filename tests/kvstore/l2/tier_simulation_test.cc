// Random histories of two stores that share an L2 which loses, damages, refuses and fails: whatever is served is right,
// what is served was stored by somebody, no lease is left, and when all is well again so is the tier.
#include <memory>
#include <random>
#include <set>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "kvstore/l2/tiered_store.h"
#include "tests/kvstore/l2/tier_scene.h"

namespace slimfill::kvstore {
namespace {

constexpr uint32_t kChains = 3, kLength = 30;
constexpr int kSeeds = 60, kSteps = 120;

// Chains share their first ten blocks.
uint32_t IdOf(uint32_t chain, uint32_t place) { return place < 10 ? place + 1 : 1000 * (chain + 1) + place; }

class Simulation {
 public:
  explicit Simulation(uint32_t seed) : random_(seed) {
    for (Store& store : stores_) {
      store.local = LocalKvStore::Create({.memory_bytes = 40 * 4096}, clock_, nullptr).value();
      store.tier = std::make_unique<TieredStore>(
          *store.local, l2_, TierOptions{.promotions = 1, .write_behind = {.max_queue = 16}}, clock_, nullptr);
    }
  }

  void Step() {
    TieredStore& tier = *stores_[Below(2)].tier;
    const uint32_t chain = Below(kChains), length = 1 + Below(kLength);
    switch (Below(10)) {
      case 0:
      case 1:
      case 2:
        Put(tier, chain, length);
        break;
      case 3:
        l2_.Lose(Key(IdOf(chain, length - 1)));
        break;
      case 4:
        l2_.MakeUnreadable(Key(IdOf(chain, length - 1)), Below(2) == 0 ? absl::OkStatus() : absl::DataLossError("bad"));
        break;
      case 5:
        l2_.Fail(Below(2) == 0 ? absl::OkStatus() : absl::UnavailableError("away"));
        break;
      case 6:
        clock_.Advance(absl::Hours(1));
        break;
      default:
        Ask(tier, chain, length);
    }
  }

  // With an L2 that works, what one store was asked for twice the other has.
  void Heal() {
    l2_.Fail(absl::OkStatus());
    for (uint32_t place = 0; place < kLength; ++place) l2_.MakeUnreadable(Key(IdOf(0, place)), absl::OkStatus());
    clock_.Advance(absl::Hours(100));
    // The queue of 16 may be full of what came before: then the next touch counts, and again for what did not fit.
    for (int i = 0; i < 3; ++i) {
      Put(*stores_[0].tier, 0, 20);
      Ask(*stores_[0].tier, 0, 20);
      ASSERT_TRUE(stores_[0].tier->Flush(absl::Now() + absl::Minutes(1)));
    }
    // Several calls: one promotes half of the small store at most.
    int64_t blocks = 0;
    for (int i = 0; i < 4; ++i) blocks = Ask(*stores_[1].tier, 0, 20);
    EXPECT_EQ(blocks, 20);
    for (Store& store : stores_) EXPECT_EQ(store.local->Stats(absl::InfiniteFuture())->leases, 0u);
  }

 private:
  struct Store {
    std::unique_ptr<LocalKvStore> local;
    std::unique_ptr<TieredStore> tier;
  };

  uint32_t Below(uint32_t end) { return static_cast<uint32_t>(random_() % end); }

  void Put(TieredStore& tier, uint32_t chain, uint32_t length) {
    for (uint32_t place = 0; place < length; ++place) {
      const uint32_t id = IdOf(chain, place);
      const std::vector<std::byte> value = Bytes(id, kBlockBytes);
      const BlockKey parent = place == 0 ? BlockKey{} : Key(IdOf(chain, place - 1));
      const auto status = tier.Put({Item(Key(id), value, parent)}, 0, absl::InfiniteFuture())->front();
      EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status)) << status;
      put_.insert(id);
    }
  }

  int64_t Ask(TieredStore& tier, uint32_t chain, uint32_t length) {
    std::vector<BlockKey> keys;
    for (uint32_t place = 0; place < length; ++place) keys.push_back(Key(IdOf(chain, place)));
    const PrefixMatch match = tier.MatchPrefix(keys, clock_.Now() + absl::Minutes(1)).value();
    for (uint32_t place = 0; place < match.blocks; ++place) {
      const uint32_t id = IdOf(chain, place);
      EXPECT_TRUE(put_.contains(id));
      std::vector<std::byte> got(kBlockBytes);
      EXPECT_TRUE(tier.Fetch({Into(Key(id), got)}, match.lease, absl::InfiniteFuture())->front().ok());
      EXPECT_TRUE(got == Bytes(id, kBlockBytes)) << "a wrong byte in block " << id;
    }
    tier.Release(match.lease);
    return match.blocks;
  }

  std::mt19937 random_;
  FakeClock clock_;
  FakeL2 l2_;
  std::set<uint32_t> put_;
  Store stores_[2];
};

TEST(TierSimulation, NeverServesAWrongByteAndHeals) {
  for (uint32_t seed = 0; seed < kSeeds && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Simulation simulation(seed);
    for (int step = 0; step < kSteps; ++step) simulation.Step();
    simulation.Heal();
  }
}

}  // namespace
}  // namespace slimfill::kvstore
