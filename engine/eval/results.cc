#include "engine/eval/results.h"

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "nlohmann/json.hpp"

namespace slimfill::eval {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const std::string& case_id, const std::string& document_id, const EvalCase& test_case,
            const std::string& arm, const RunResult& run) {
  return {{"case", case_id},
          {"document_id", document_id},
          {"kind", test_case.kind},
          {"target_tokens", test_case.target_tokens},
          {"question_first", test_case.question_first},
          {"judged", !test_case.accept.empty()},
          {"arm", arm},
          {"prompt_tokens", run.prompt_tokens},
          {"right", run.right},
          {"nll", run.nll},
          {"answer_tokens", run.answer_tokens},
          {"ttft_s", run.ttft_seconds},
          {"cached_tokens", run.cached_tokens},
          {"flops_ratio", run.flops_ratio},
          {"kv_ratio", run.kv_ratio},
          {"kept", run.kept},
          {"recall", run.recall},
          {"fallbacks", run.fallbacks},
          {"decode_steps", run.decode_steps},
          {"swaps", run.swaps},
          {"answer", test_case.answer},
          {"output", run.output}};
}

RunResult FromJson(const Json& json) {
  RunResult run;
  run.prompt_tokens = json.at("prompt_tokens");
  run.right = json.at("right");
  run.nll = json.at("nll");
  run.answer_tokens = json.at("answer_tokens");
  run.ttft_seconds = json.at("ttft_s");
  run.cached_tokens = json.value("cached_tokens", int64_t{0});
  run.flops_ratio = json.at("flops_ratio");
  run.kv_ratio = json.at("kv_ratio");
  run.kept = json.at("kept").get<std::vector<int64_t>>();
  run.recall = json.at("recall").get<std::vector<double>>();
  run.fallbacks = json.at("fallbacks").get<std::vector<std::string>>();
  run.decode_steps = json.at("decode_steps");
  run.swaps = json.at("swaps");
  run.output = json.at("output");
  return run;
}

}  // namespace

absl::StatusOr<Results> Results::Open(const std::string& path) {
  Results results(path);
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) SLIMFILL_RETURN_IF_ERROR(results.AddLine(line));
  return results;
}

bool Results::Has(const std::string& case_id, const std::string& arm) const {
  const auto found = index_.find(case_id);
  return found != index_.end() && cases_[found->second].by_arm.contains(arm);
}

absl::Status Results::Append(const std::string& case_id, const std::string& document_id, const EvalCase& test_case,
                             const std::string& arm, const RunResult& run) {
  // Outputs may break off inside a character.
  const std::string line =
      ToJson(case_id, document_id, test_case, arm, run).dump(-1, ' ', false, Json::error_handler_t::replace);
  std::ofstream file(path_, std::ios::app);
  file << line << "\n";
  if (!file.flush()) return absl::UnavailableError(absl::StrCat("cannot write ", path_));
  return AddLine(line);
}

absl::Status Results::AddLine(const std::string& line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::OkStatus();  // the last line of a run that was stopped may be cut off
  try {
    const std::string id = json.at("case");
    const auto [entry, added] = index_.try_emplace(id, cases_.size());
    if (added) {
      cases_.push_back({.case_id = id,
                        .document_id = json.value("document_id", id),
                        .kind = json.at("kind"),
                        .target_tokens = json.at("target_tokens"),
                        .question_first = json.at("question_first"),
                        .judged = json.at("judged")});
    }
    cases_[entry->second].by_arm[json.at("arm")] = FromJson(json);
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": a line is not ours (", error.what(), "): give --out another file"));
  }
  return absl::OkStatus();
}

}  // namespace slimfill::eval
