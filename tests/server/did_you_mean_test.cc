#include "server/did_you_mean.h"

#include <gtest/gtest.h>

#include <vector>

namespace slimfill::server {
namespace {

const std::vector<std::string> kNames = {"listen", "metrics-listen", "max-queue", "model"};

TEST(ClosestName, FindsMisspeltNames) {
  EXPECT_EQ(ClosestName("listne", kNames), "listen");
  EXPECT_EQ(ClosestName("maxqueue", kNames), "max-queue");
  EXPECT_EQ(ClosestName("modl", kNames), "model");
}

TEST(ClosestName, SaysNothingOfNamesThatAreFarFromAll) {
  EXPECT_EQ(ClosestName("temperature", kNames), "");
  EXPECT_EQ(ClosestName("", kNames), "");
  EXPECT_EQ(ClosestName("xy", kNames), "");
  EXPECT_EQ(ClosestName(std::string(100000, 'l'), kNames), "");
}

}  // namespace
}  // namespace slimfill::server
