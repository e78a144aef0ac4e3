// Runs the blocks of a grid one after another, a block's lanes as fibers that switch wherever lanes meet.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "cusim/collectives.h"
#include "cusim/vector_types.h"
#include "tests/cusim/fiber.h"
#include "tests/cusim/lane_stacks.h"
#include "tests/cusim/schedule.h"
#include "tests/cusim/shared_memory.h"

namespace cusim {

struct Grid {
  dim3 blocks, threads;
  size_t dynamic_shared_bytes = 0;
  size_t shared_limit = 0;  // for dynamic and static memory together
  const std::function<void()>* lane_body = nullptr;
};

// A copy that a lane has asked for by cp.async and that has not been made.
struct PendingCopy {
  void* to;
  const void* from;
  unsigned bytes, valid;
  int group;
};

class BlockRunner {
 public:
  // The runner of this thread's running kernel, or null outside kernels.
  static BlockRunner* Running();

  // Runs the whole grid on the calling stream's fiber, `home`.
  static void RunGrid(const Grid& grid, uint64_t launch_number, const Context& home);

  // For the running lane. See cusim/collectives.h and cusim/tensor_core.h.
  int Barrier(BarrierKind kind, int predicate, Site site);
  void MeetInWarp(WarpOp op, unsigned mask, WarpBody body, void* argument, Site site);
  void CpAsync(const PendingCopy& copy);
  void CpAsyncCommit() { ++lane().copy_group; }
  void CpAsyncWait(int pending_groups);

  unsigned lane_index() const { return running_ % 32; }
  unsigned live_mask() const { return warps_[running_ / 32].live; }
  SharedMemory& shared() { return shared_; }

 private:
  enum class State : uint8_t { kReady, kInWarp, kInBarrier, kEnded };
  struct Lane {
    uint3 thread;
    Context context;
    State state;
    Site site;
    std::vector<PendingCopy> copies;
    int copy_group;
  };
  // Lanes of one mask on their way to one collective.
  struct Meeting {
    unsigned mask = 0, arrived = 0;
    WarpOp op{};
    Site site{};
  };
  struct Warp {
    unsigned all = 0, live = 0;
    unsigned priority = 0;  // where warps are favoured
    void* arguments[32] = {};
    Meeting meetings[4];
    // Of __syncwarp, for each meeting place. Odd and even rounds have tokens of their own: a lane that leaves a round
    // late must not learn what others did in the next.
    char tokens[4][2] = {};
    unsigned rounds[4] = {};
  };

  BlockRunner() : random_(1) {}
  static BlockRunner& OfThisThread();
  static void LaneMain();

  void GrowLanes(unsigned lanes);
  void RunBlock(const Grid& grid, uint3 block);
  void EndLane();
  void FinishBarrier();
  Meeting& FindMeeting(Warp& warp, WarpOp op, unsigned mask, Site site);
  void MakeReady(unsigned index);
  unsigned TakeReady();
  size_t PickRandom();
  // Leaves the running lane, which is ready and queued, or waits.
  void SwitchAway();
  void EnterLane(unsigned index);
  [[noreturn]] void FailDeadlock();
  Lane& lane() { return lanes_[running_]; }

  Context home_;
  LaneStacks stacks_;
  SharedMemory shared_;
  std::vector<Lane> lanes_;  // never fewer than before: the first lane_count_ are the block's
  unsigned lane_count_ = 0;
  std::vector<Warp> warps_;
  std::vector<unsigned> ready_;
  unsigned running_ = 0, live_ = 0;
  ScheduleRandom random_;
  // Lanes that are picked evenly make warps advance evenly; in half of the blocks some warps run far ahead of others.
  bool favours_warps_ = false;
  const std::function<void()>* body_ = nullptr;
  char* begin_token_ = nullptr;
  char* end_token_ = nullptr;

  unsigned in_barrier_ = 0;
  BarrierKind barrier_kind_{};
  Site barrier_site_{};
  int barrier_sum_ = 0, barrier_result_ = 0;
  char barrier_tokens_[2] = {};  // of odd and even rounds, as a warp's
  unsigned barrier_round_ = 0;
};

}  // namespace cusim
