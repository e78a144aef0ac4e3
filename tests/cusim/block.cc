#include "tests/cusim/block.h"

#include <cstdio>
#include <map>
#include <string>

#include "tests/cusim/omissions.h"
#include "tests/cusim/visible_memory.h"

constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local dim3 blockDim{};
constinit thread_local dim3 gridDim{};

namespace cusim {
namespace {

constexpr size_t kMaxPendingCopies = 512;  // of a lane

constinit thread_local BlockRunner* running_runner = nullptr;

void MakeCopy(const PendingCopy& copy) {
  if (copy.valid > 0) VisibleCopy(copy.to, copy.from, copy.valid);
  if (copy.valid < copy.bytes) VisibleSet(static_cast<char*>(copy.to) + copy.valid, 0, copy.bytes - copy.valid);
}

std::vector<unsigned> BlockOrder(unsigned blocks, ScheduleRandom& random) {
  std::vector<unsigned> order(blocks);
  for (unsigned i = 0; i < blocks; ++i) order[i] = i;
  if (CurrentSchedule().lanes == Schedule::Lanes::kRandom) {
    for (unsigned i = blocks; i > 1; --i) std::swap(order[i - 1], order[random.Next() % i]);
  }
  return order;
}

}  // namespace

BlockRunner* BlockRunner::Running() { return running_runner; }

BlockRunner& BlockRunner::OfThisThread() {
  static thread_local BlockRunner runner;
  return runner;
}

void BlockRunner::RunGrid(const Grid& grid, uint64_t launch_number, const Context& home) {
  BlockRunner& runner = OfThisThread();
  running_runner = &runner;
  runner.home_ = home;
  runner.random_ = ScheduleRandom(CurrentSchedule().seed * 1000003 + launch_number);
  runner.body_ = grid.lane_body;
  // On the heap: ThreadSanitizer forgets what an address ordered once it is freed.
  const auto begin_token = std::make_unique<char>(), end_token = std::make_unique<char>();
  runner.begin_token_ = begin_token.get();
  runner.end_token_ = end_token.get();
  for (unsigned id : BlockOrder(grid.blocks.x * grid.blocks.y * grid.blocks.z, runner.random_)) {
    runner.RunBlock(grid,
                    {id % grid.blocks.x, id / grid.blocks.x % grid.blocks.y, id / (grid.blocks.x * grid.blocks.y)});
  }
  Acquire(runner.end_token_);
  runner.shared_.EndGrid();
  running_runner = nullptr;
}

// Room for copies is made here, on the stream's fiber: a lane that moved its list would race with others to
// ThreadSanitizer's eyes.
void BlockRunner::GrowLanes(unsigned lanes) {
  if (lanes_.size() >= lanes) return;
  lanes_.resize(lanes);
  for (Lane& lane : lanes_) lane.copies.reserve(kMaxPendingCopies);
}

void BlockRunner::RunBlock(const Grid& grid, uint3 block) {
  const unsigned threads = grid.threads.x * grid.threads.y * grid.threads.z;
  blockIdx = block;
  blockDim = grid.threads;
  gridDim = grid.blocks;
  shared_.BeginBlock(grid.dynamic_shared_bytes, grid.shared_limit);
  stacks_.BeginBlock(threads);
  GrowLanes(threads);
  lane_count_ = threads;
  warps_.assign((threads + 31) / 32, Warp{});
  favours_warps_ = random_.OneIn(2);
  for (Warp& warp : warps_) warp.priority = random_.Next();
  ready_.clear();
  in_barrier_ = 0;
  live_ = threads;
  for (unsigned i = 0; i < threads; ++i) {
    Lane& lane = lanes_[i];
    lane.thread = {i % grid.threads.x, i / grid.threads.x % grid.threads.y, i / (grid.threads.x * grid.threads.y)};
    lane.state = State::kReady;
    lane.copies.clear();
    lane.copy_group = 0;
    stacks_.PrepareLane(i, lane.context, &LaneMain);
    warps_[i / 32].all |= 1u << (i % 32);
    warps_[i / 32].live |= 1u << (i % 32);
    ready_.push_back(i);
  }
  Release(begin_token_);
  EnterLane(TakeReady());
  Switch(home_, lane().context);
  shared_.EndBlock();
}

void BlockRunner::LaneMain() {
  FiberStarted();
  BlockRunner& runner = *running_runner;
  Acquire(runner.begin_token_);
  (*runner.body_)();
  runner.CpAsyncCommit();
  runner.CpAsyncWait(0);
  Release(runner.end_token_);
  runner.EndLane();
}

void BlockRunner::EndLane() {
  Lane& ended = lane();
  ended.state = State::kEnded;
  --live_;
  warps_[running_ / 32].live &= ~(1u << (running_ % 32));
  if (in_barrier_ > 0 && in_barrier_ == live_) FinishBarrier();  // lanes that have returned do not count
  if (live_ == 0) SwitchFromEnded(ended.context, home_);
  if (ready_.empty()) FailDeadlock();
  EnterLane(TakeReady());
  SwitchFromEnded(ended.context, lane().context);
}

void BlockRunner::MakeReady(unsigned index) {
  lanes_[index].state = State::kReady;
  ready_.push_back(index);
}

unsigned BlockRunner::TakeReady() {
  size_t at = 0;
  switch (CurrentSchedule().lanes) {
    case Schedule::Lanes::kRandom:
      at = PickRandom();
      break;
    case Schedule::Lanes::kFirstToLast:
      break;
    case Schedule::Lanes::kLastToFirst:
      at = ready_.size() - 1;
      break;
  }
  const unsigned index = ready_[at];
  if (CurrentSchedule().lanes == Schedule::Lanes::kRandom) {
    ready_[at] = ready_.back();
    ready_.pop_back();
  } else {
    ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return index;
}

size_t BlockRunner::PickRandom() {
  size_t at = random_.Next() % ready_.size();
  if (!favours_warps_) return at;
  // The best of a few: nearly always of the favoured warp among those that are ready.
  constexpr int kTries = 7;
  const auto priority = [this](size_t i) { return warps_[ready_[i] / 32].priority; };
  for (int i = 0; i < kTries; ++i) {
    const size_t other = random_.Next() % ready_.size();
    if (priority(other) > priority(at)) at = other;
  }
  return at;
}

void BlockRunner::EnterLane(unsigned index) {
  running_ = index;
  threadIdx = lanes_[index].thread;
}

void BlockRunner::SwitchAway() {
  if (ready_.empty()) FailDeadlock();
  Lane& left = lane();
  const unsigned next = TakeReady();
  if (&lanes_[next] == &left) return;
  EnterLane(next);
  Switch(left.context, lane().context);
}

int BlockRunner::Barrier(BarrierKind kind, int predicate, Site site) {
  if (kind == BarrierKind::kPlain && LeftOut("__syncthreads", site)) return 0;
  if (in_barrier_ == 0) {
    barrier_kind_ = kind;
    barrier_site_ = site;
    barrier_sum_ = 0;
  } else if (barrier_kind_ != kind || barrier_site_.line != site.line || barrier_site_.file != site.file) {
    Fail("divergent barrier: %s:%d meets %s:%d", site.file, site.line, barrier_site_.file, barrier_site_.line);
  }
  barrier_sum_ += predicate != 0;
  char* const token = &barrier_tokens_[barrier_round_ % 2];
  Release(token);
  if (++in_barrier_ < live_) {
    lane().state = State::kInBarrier;
    lane().site = site;
    SwitchAway();
  } else {
    FinishBarrier();
    ready_.push_back(running_);
    SwitchAway();
  }
  Acquire(token);
  return barrier_result_;
}

void BlockRunner::FinishBarrier() {
  switch (barrier_kind_) {
    case BarrierKind::kOr:
      barrier_result_ = barrier_sum_ > 0;
      break;
    case BarrierKind::kAnd:
      barrier_result_ = barrier_sum_ == static_cast<int>(in_barrier_);
      break;
    default:
      barrier_result_ = barrier_sum_;
  }
  in_barrier_ = 0;
  ++barrier_round_;
  for (unsigned i = 0; i < lane_count_; ++i) {
    if (lanes_[i].state == State::kInBarrier) MakeReady(i);
  }
}

BlockRunner::Meeting& BlockRunner::FindMeeting(Warp& warp, WarpOp op, unsigned mask, Site site) {
  for (Meeting& meeting : warp.meetings) {
    if (meeting.arrived == 0 || meeting.mask != mask) continue;
    if (meeting.op != op || meeting.site.line != site.line || meeting.site.file != site.file) {
      Fail("divergent warp: %s:%d meets %s:%d", site.file, site.line, meeting.site.file, meeting.site.line);
    }
    return meeting;
  }
  for (Meeting& meeting : warp.meetings) {
    if (meeting.arrived > 0) continue;
    meeting = {mask, 0, op, site};
    return meeting;
  }
  Fail("%s:%d: more than four parts of a warp meet at once", site.file, site.line);
}

void BlockRunner::MeetInWarp(WarpOp op, unsigned mask, WarpBody body, void* argument, Site site) {
  if (op == WarpOp::kSync && LeftOut("__syncwarp", site)) return;
  Warp& warp = warps_[running_ / 32];
  const unsigned lane_bit = 1u << (running_ % 32);
  mask &= warp.all;  // a full mask in a block's last, partial warp
  if ((mask & lane_bit) == 0) Fail("%s:%d: the calling lane is not in the mask %08x", site.file, site.line, mask);
  if ((mask & ~warp.live) != 0) {
    Fail("%s:%d: the mask %08x names lanes that have returned (live: %08x)", site.file, site.line, mask, warp.live);
  }
  Meeting& meeting = FindMeeting(warp, op, mask, site);
  warp.arguments[running_ % 32] = argument;
  meeting.arrived |= lane_bit;
  const auto place = &meeting - warp.meetings;
  char* const token = &warp.tokens[place][warp.rounds[place] % 2];
  // Only __syncwarp orders memory; a shuffle or a vote does not.
  if (op == WarpOp::kSync) Release(token);
  if (meeting.arrived != mask) {
    lane().state = State::kInWarp;
    lane().site = site;
    SwitchAway();
  } else {
    meeting.arrived = 0;
    ++warp.rounds[place];
    if (body != nullptr) body(warp.arguments, mask);
    const unsigned first = running_ / 32 * 32;
    for (unsigned i = 0; i < 32; ++i) {
      if ((mask >> i & 1) != 0 && first + i != running_) MakeReady(first + i);
    }
    if (CurrentSchedule().lanes == Schedule::Lanes::kRandom && random_.OneIn(4)) {
      ready_.push_back(running_);
      SwitchAway();
    }
  }
  if (op == WarpOp::kSync) Acquire(token);
}

void BlockRunner::CpAsync(const PendingCopy& copy) {
  const Schedule::Copies when = CurrentSchedule().copies;
  if (when == Schedule::Copies::kAtIssue || (when == Schedule::Copies::kRandom && random_.OneIn(2)))
    return MakeCopy(copy);
  VisibleSet(copy.to, 0xff, copy.bytes);  // whoever reads it before it is waited for reads NaN
  if (lane().copies.size() == kMaxPendingCopies)
    Fail("a lane has more than %zu copies on their way", kMaxPendingCopies);
  lane().copies.push_back(copy);
  lane().copies.back().group = lane().copy_group;
}

void BlockRunner::CpAsyncWait(int pending_groups) {
  std::vector<PendingCopy>& copies = lane().copies;
  const int done_before = lane().copy_group - pending_groups;
  size_t kept = 0;
  for (const PendingCopy& copy : copies) {
    if (copy.group < done_before) {
      MakeCopy(copy);
    } else {
      copies[kept++] = copy;
    }
  }
  copies.resize(kept);
}

void BlockRunner::FailDeadlock() {
  std::map<std::string, int> counts;
  for (unsigned i = 0; i < lane_count_; ++i) {
    const Lane& waiting = lanes_[i];
    if (waiting.state == State::kEnded) {
      ++counts["returned"];
      continue;
    }
    const char* where = waiting.state == State::kInBarrier ? "in __syncthreads at " : "in a warp collective at ";
    ++counts[std::string(where) + waiting.site.file + ":" + std::to_string(waiting.site.line)];
  }
  std::string text;
  for (const auto& [what, count] : counts) text += "\n  " + std::to_string(count) + " lanes " + what;
  Fail("deadlock: no lane of the block can go on%s", text.c_str());
}

}  // namespace cusim
