#include "engine/ops/backend_factory.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/engine/ops/ops_test_util.h"

namespace slimfill::engine {
namespace {

using testing::HasSubstr;

TEST(BackendFactoryTest, MakesEveryAvailableBackend) {
  for (const std::string& name : AvailableBackends()) {
    const auto backend = MakeBackend(name, {});
    ASSERT_TRUE(backend.ok()) << backend.status();
    EXPECT_EQ((*backend)->name(), name);
    EXPECT_FALSE((*backend)->kv_layout().empty());
  }
}

TEST(BackendFactoryTest, RefusesUnknownNames) {
  const auto backend = MakeBackend("tpu", {});
  EXPECT_EQ(backend.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(backend.status().message()), HasSubstr("use cpu, ref or cuda"));
}

TEST(BackendFactoryTest, RefusesUnknownInstructionSets) {
  const auto backend = MakeBackend("cpu", {.cpu_isa = "sse9"});
  EXPECT_EQ(backend.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(backend.status().message()), HasSubstr("portable"));
}

TEST(BackendFactoryTest, RefusesImpossibleThreadCounts) {
  for (int threads : {-1, 5000}) {
    EXPECT_EQ(MakeBackend("cpu", {.threads = threads}).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(BackendFactoryTest, PortableRunsEverywhereAndIsNamed) {
  const auto backend = MakeBackend("cpu", {.threads = 1, .cpu_isa = "portable"});
  ASSERT_TRUE(backend.ok());
  EXPECT_EQ((*backend)->description(), "cpu, portable, 1 thread");
}

TEST(BackendFactoryTest, LinearLayersAreOfTypesThatExistAndShowInTheArithmetic) {
  for (const char* linear : {"int4", ""}) {
    const auto backend = MakeBackend("cpu", {.linear = linear});
    EXPECT_EQ(backend.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(backend.status().message()), HasSubstr("use bf16 or int8"));
  }
  EXPECT_EQ(MakeBackend("ref", {.linear = "int8"}).status().code(), absl::StatusCode::kInvalidArgument);
  const auto bf16 = MakeBackend("cpu", {.cpu_isa = "portable"}),
             int8 = MakeBackend("cpu", {.threads = 1, .cpu_isa = "portable", .linear = "int8"});
  ASSERT_TRUE(int8.ok()) << int8.status();
  EXPECT_EQ((*int8)->description(), "cpu, portable, int8 by portable, 1 thread");
  EXPECT_NE((*int8)->arithmetic(), (*bf16)->arithmetic());
}

TEST(BackendFactoryTest, LevelsShareThePageLayout) {
  for (const BackendCase& backend_case : BackendCases()) {
    if (backend_case.backend != "cpu") continue;
    EXPECT_EQ((*MakeBackend("cpu", {.cpu_isa = backend_case.cpu_isa}))->kv_layout(),
              (*MakeBackend("cpu", {}))->kv_layout());
  }
}

TEST(BackendFactoryTest, CpuRefusesWeightsWithOddColumns) {
  const TestWeight weight(3, 5, std::vector<float>(15));
  EXPECT_EQ((*MakeBackend("cpu", {}))->PackWeight(weight.matrix()).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace slimfill::engine
