// Stacks and fibers of a block's lanes, kept from block to block.
#pragma once

#include <cstddef>
#include <vector>

#include "tests/cusim/fiber.h"

namespace cusim {

class LaneStacks {
 public:
  LaneStacks() = default;
  LaneStacks(const LaneStacks&) = delete;
  LaneStacks& operator=(const LaneStacks&) = delete;
  ~LaneStacks();

  void BeginBlock(unsigned lanes);
  // Lane `index` starts `entry` at the first switch to `context`.
  void PrepareLane(unsigned index, Context& context, void (*entry)());

 private:
  char* stacks_ = nullptr;
  size_t count_ = 0;
  // ThreadSanitizer's fibers are dear (0.4 ms each). Three sets take turns: lanes of blocks that are near each other
  // in time are told apart, which is what finds races between blocks.
  static constexpr unsigned kSets = 3;
  std::vector<Context> fibers_[kSets];
  unsigned set_ = 0;
};

}  // namespace cusim
