// The prompt-length classes that metrics are labelled with.
#pragma once

#include <array>
#include <cstdint>

namespace slimfill::scheduler {

inline constexpr std::array<const char*, 5> kPromptBucketNames = {"le_1k", "le_4k", "le_16k", "le_64k", "gt_64k"};

constexpr int PromptBucket(int64_t tokens) {
  int bucket = 0;
  for (int64_t limit = 1024; bucket < 4 && tokens > limit; limit *= 4) ++bucket;
  return bucket;
}

}  // namespace slimfill::scheduler
