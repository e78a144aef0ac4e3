#include "engine/calibrate/observation_file.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/prune/policy.h"
#include "nlohmann/json.hpp"

namespace slimfill::calibrate {
namespace {

using Json = nlohmann::ordered_json;

// Numbers as their bytes: there are a hundred thousand of them to a prompt.
template <typename T>
std::string Pack(const std::vector<T>& values) {
  const auto* bytes = reinterpret_cast<const char*>(values.data());
  return absl::Base64Escape(absl::string_view(bytes, values.size() * sizeof(T)));
}

template <typename T>
bool Unpack(const std::string& text, int64_t count, std::vector<T>& values) {
  std::string bytes;
  if (!absl::Base64Unescape(text, &bytes) || bytes.size() != count * sizeof(T)) return false;
  values.resize(count);
  if (count > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
  return true;
}

Json ToJson(const std::string& id, const std::string& model_sha256, const Observation& observation) {
  const engine::HeadStudy& study = observation.study;
  return {{"id", id},
          {"model_sha256", model_sha256},
          {"kind", observation.kind},
          {"target_tokens", observation.target_tokens},
          {"prompt_tokens", observation.prompt_tokens},
          {"evidence", observation.evidence},
          {"layers", study.layers},
          {"heads", study.heads},
          {"link_layers", study.link_layers},
          {"forced", study.forced},
          {"units", Pack(study.units)},
          {"looks", Pack(study.looks)}};
}

bool IsInside(const std::vector<int32_t>& values, int64_t first, int64_t end) {
  return std::all_of(values.begin(), values.end(), [&](int32_t value) { return value >= first && value < end; });
}

// The study's sizes go by the prompt's: nothing else in it can be wrong.
bool FromJson(const Json& json, Observation& observation) {
  observation = {.kind = json.at("kind"),
                 .target_tokens = json.at("target_tokens"),
                 .prompt_tokens = json.at("prompt_tokens"),
                 .evidence = json.at("evidence").get<std::vector<int32_t>>()};
  engine::HeadStudy& study = observation.study;
  study.layers = json.at("layers");
  study.heads = json.at("heads");
  study.link_layers = json.at("link_layers");
  study.forced = json.at("forced").get<std::vector<int32_t>>();
  constexpr int kMost = 1 << 12;
  if (observation.prompt_tokens <= 0 || observation.prompt_tokens > (1 << 24)) return false;
  if (study.layers <= 0 || study.layers > kMost || study.heads <= 0 || study.heads > kMost) return false;
  if (study.link_layers < 0 || study.link_layers > study.layers) return false;
  study.blocks = engine::BlockCount(observation.prompt_tokens);
  const int64_t units = study.blocks * engine::kUnitsPerBlock;
  if (!IsInside(study.forced, 0, study.blocks) || !IsInside(observation.evidence, 0, study.blocks)) return false;
  if (!Unpack(json.at("units"), units * study.layers * study.heads, study.units)) return false;
  if (!Unpack(json.at("looks"), units * study.link_layers * study.heads * engine::HeadStudy::kLinksPerUnit,
              study.looks)) {
    return false;
  }
  return std::all_of(study.looks.begin(), study.looks.end(),
                     [&](const engine::FarLook& look) { return look.unit < units; });
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
      Observation observation;
      if (!FromJson(json, observation)) return invalid("does not hold what its prompt's length asks for");
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
