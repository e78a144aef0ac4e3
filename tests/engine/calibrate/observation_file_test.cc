#include "engine/calibrate/observation_file.h"

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace slimfill::calibrate {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

class ObservationFileTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove(path_); }
  void TearDown() override { std::filesystem::remove(path_); }

  static Observation Seen() {
    Observation observation{.kind = "needle", .target_tokens = 100, .prompt_tokens = 130, .evidence = {1}};
    engine::HeadStudy& study = observation.study;
    study = {.layers = 2, .heads = 3, .link_layers = 1, .blocks = 3, .forced = {0, 2}};
    for (int i = 0; i < 2 * 3 * 3 * 8; ++i) study.units.push_back(1.0f / static_cast<float>(i + 3));
    study.looks.resize(1 * 3 * 3 * 8 * engine::HeadStudy::kLinksPerUnit);
    study.looks[40] = {2, .25f};
    return observation;
  }
  void Write(const std::string& line) { std::ofstream(path_, std::ios::app) << line << "\n"; }
  static Json Line() {
    const std::string path = ::testing::TempDir() + "/observation_line.jsonl";
    std::filesystem::remove(path);
    EXPECT_TRUE(ObservationFile::Open(path, "model")->Append("a", Seen()).ok());
    std::ifstream file(path);
    return Json::parse(file);
  }
  absl::Status Opened() { return ObservationFile::Open(path_, "model").status(); }

  const std::string path_ =
      ::testing::TempDir() + "/observations_" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(ObservationFileTest, GivesBackWhatWasAppendedBitForBit) {
  ASSERT_TRUE(ObservationFile::Open(path_, "model")->Append("a", Seen()).ok());
  const absl::StatusOr<ObservationFile> file = ObservationFile::Open(path_, "model");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->Find("b"), nullptr);
  ASSERT_NE(file->Find("a"), nullptr);
  const Observation& found = *file->Find("a");
  const Observation seen = Seen();
  EXPECT_EQ(found.kind, seen.kind);
  EXPECT_EQ(found.target_tokens, seen.target_tokens);
  EXPECT_EQ(found.prompt_tokens, seen.prompt_tokens);
  EXPECT_EQ(found.evidence, seen.evidence);
  EXPECT_EQ(found.study.layers, 2);
  EXPECT_EQ(found.study.heads, 3);
  EXPECT_EQ(found.study.link_layers, 1);
  EXPECT_EQ(found.study.blocks, 3);
  EXPECT_EQ(found.study.forced, seen.study.forced);
  EXPECT_EQ(found.study.units, seen.study.units);
  EXPECT_EQ(found.study.looks, seen.study.looks);
}

TEST_F(ObservationFileTest, DropsALineThatWasCutOffAndGoesOnBehindIt) {
  ASSERT_TRUE(ObservationFile::Open(path_, "model")->Append("a", Seen()).ok());
  std::ofstream(path_, std::ios::app) << R"({"id": "b", "model)";
  absl::StatusOr<ObservationFile> file = ObservationFile::Open(path_, "model");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_NE(file->Find("a"), nullptr);
  ASSERT_TRUE(file->Append("c", Seen()).ok());
  file = ObservationFile::Open(path_, "model");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_NE(file->Find("c"), nullptr);
}

TEST_F(ObservationFileTest, RefusesAnotherModelsObservations) {
  ASSERT_TRUE(ObservationFile::Open(path_, "other")->Append("a", Seen()).ok());
  EXPECT_THAT(std::string(Opened().message()), HasSubstr("another model"));
}

TEST_F(ObservationFileTest, RefusesWhatDoesNotFitThePrompt) {
  const auto refused = [&](const char* key, const Json& value) {
    std::filesystem::remove(path_);
    Json line = Line();
    line[key] = value;
    Write(line.dump());
    const absl::Status status = Opened();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key << " " << value;
    EXPECT_THAT(std::string(status.message()), HasSubstr("line 1"));
  };
  Write(Line().dump());
  ASSERT_TRUE(Opened().ok()) << Opened();
  refused("prompt_tokens", 200);
  refused("prompt_tokens", 0);
  refused("prompt_tokens", -1);
  refused("prompt_tokens", "many");
  refused("layers", 0);
  refused("layers", 3);
  refused("heads", 1 << 20);
  refused("link_layers", 3);
  refused("link_layers", -1);
  refused("forced", {0, 3});
  refused("evidence", {-1});
  refused("units", "AAAA");
  refused("units", "no base64!");
  refused("looks", "");
}

TEST_F(ObservationFileTest, RefusesALinkToAUnitThatThePromptDoesNotHave) {
  Observation observation = Seen();
  observation.study.looks[0] = {24, .5f};
  ASSERT_TRUE(ObservationFile::Open(path_, "model")->Append("a", observation).ok());
  EXPECT_EQ(Opened().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace slimfill::calibrate
