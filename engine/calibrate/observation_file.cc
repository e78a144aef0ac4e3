#include "engine/calibrate/observation_file.h"

#include <cstdio>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "nlohmann/json.hpp"

namespace slimfill::calibrate {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const std::string& id, const std::string& model_sha256, const Observation& observation) {
  const engine::AllHeadScores& heads = observation.heads;
  return {{"id", id},
          {"model_sha256", model_sha256},
          {"kind", observation.kind},
          {"target_tokens", observation.target_tokens},
          {"prompt_tokens", observation.prompt_tokens},
          {"evidence", observation.evidence},
          {"layers", heads.layers},
          {"heads", heads.heads},
          {"blocks", heads.blocks},
          {"forced", heads.forced},
          {"peaks", heads.peaks},
          {"scores", heads.scores}};
}

Observation FromJson(const Json& json) {
  Observation observation{.kind = json.at("kind"),
                          .target_tokens = json.at("target_tokens"),
                          .prompt_tokens = json.at("prompt_tokens"),
                          .evidence = json.at("evidence").get<std::vector<int32_t>>()};
  engine::AllHeadScores& heads = observation.heads;
  heads.layers = json.at("layers");
  heads.heads = json.at("heads");
  heads.blocks = json.at("blocks");
  heads.forced = json.at("forced").get<std::vector<int32_t>>();
  heads.peaks = json.at("peaks").get<std::vector<float>>();
  heads.scores = json.at("scores").get<std::vector<float>>();
  return observation;
}

bool IsConsistent(const engine::AllHeadScores& heads) {
  return heads.layers > 0 && heads.heads > 0 && heads.blocks > 0 &&
         heads.peaks.size() == static_cast<size_t>(heads.layers) * heads.heads &&
         heads.scores.size() == heads.peaks.size() * heads.blocks;
}

}  // namespace

absl::StatusOr<ObservationFile> ObservationFile::Open(const std::string& path, const std::string& model_sha256) {
  ObservationFile result;
  result.path_ = path;
  result.model_sha256_ = model_sha256;
  std::ifstream file(path);
  std::string line;
  uintmax_t whole = 0;  // bytes of complete lines
  for (int number = 1; !path.empty() && std::getline(file, line) && !file.eof(); ++number) {
    whole += line.size() + 1;
    const auto invalid = [&](const std::string& why) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": line ", number, " ", why, ": give --observations another file"));
    };
    try {
      const Json json = Json::parse(line);
      if (json.at("model_sha256") != model_sha256) return invalid("is of another model");
      Observation observation = FromJson(json);
      if (!IsConsistent(observation.heads)) return invalid("has a wrong number of scores");
      result.observations_[json.at("id")] = std::move(observation);
    } catch (const Json::exception& error) {
      return invalid(absl::StrCat("is no observation (", error.what(), ")"));
    }
  }
  std::error_code ignored;
  if (whole > 0 && std::filesystem::file_size(path, ignored) > whole) {
    std::filesystem::resize_file(path, whole, ignored);
  }
  return result;
}

const Observation* ObservationFile::Find(const std::string& id) const {
  const auto found = observations_.find(id);
  return found == observations_.end() ? nullptr : &found->second;
}

absl::Status ObservationFile::Append(const std::string& id, const Observation& observation) {
  if (path_.empty()) return absl::OkStatus();
  std::ofstream file(path_, std::ios::app);
  file << ToJson(id, model_sha256_, observation).dump() << "\n";
  if (!file.flush()) return absl::UnavailableError(absl::StrCat("cannot write ", path_));
  return absl::OkStatus();
}

}  // namespace slimfill::calibrate
