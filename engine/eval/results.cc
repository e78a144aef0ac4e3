#include "engine/eval/results.h"

#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "nlohmann/json.hpp"

namespace slimfill::eval {
namespace {

using Json = nlohmann::ordered_json;

Json ToJson(const std::string& case_id, const std::string& document_id, const EvalCase& test_case, const Arm& arm,
            const RunResult& run, const Provenance& provenance) {
  return {{"case", case_id},
          {"document_id", document_id},
          {"kind", test_case.kind},
          {"target_tokens", test_case.target_tokens},
          {"question_first", test_case.question_first},
          {"judged", !test_case.accept.empty()},
          {"arm", arm.name},
          {"plan", PlanId(arm)},
          {"prompt_tokens", run.prompt_tokens},
          {"right", run.right},
          {"nll", run.nll},
          {"answer_tokens", run.answer_tokens},
          {"ttft_s", run.ttft_seconds},
          {"cached_tokens", run.cached_tokens},
          {"same_as", run.same_as},
          {"flops_ratio", run.flops_ratio},
          {"kv_ratio", run.kv_ratio},
          {"kept", run.kept},
          {"recall", run.recall},
          {"fallbacks", run.fallbacks},
          {"decode_steps", run.decode_steps},
          {"swaps", run.swaps},
          {"answer", test_case.answer},
          {"output", run.output},
          {"corpus", provenance.corpus},
          {"model", provenance.model},
          {"model_sha256", provenance.model_sha256},
          {"linear", provenance.linear},
          {"max_tokens", provenance.max_tokens},
          {"program", provenance.program}};
}

Provenance ProvenanceOf(const Json& json) {
  return {.corpus = json.value("corpus", ""),
          .model = json.value("model", ""),
          .model_sha256 = json.value("model_sha256", ""),
          .linear = json.value("linear", "bf16"),
          .max_tokens = json.value("max_tokens", 0),
          .program = json.value("program", "")};
}

// What is not the same, in words; "" when all is.
std::string Difference(const Provenance& found, const Provenance& wanted) {
  if (found.model_sha256 != wanted.model_sha256) {
    return absl::StrCat("is of the model ", found.model.empty() ? "(unknown)" : found.model, " with sha256 ",
                        found.model_sha256, ", not of ", wanted.model, " with ", wanted.model_sha256);
  }
  if (found.linear != wanted.linear) {
    return absl::StrCat("was computed with linear layers of ", found.linear, ", not of ", wanted.linear);
  }
  if (found.corpus != wanted.corpus) {
    return absl::StrCat("has cases from the corpus ", found.corpus, ", not from ", wanted.corpus,
                        ": another --split, or a machine with other texts");
  }
  if (found.max_tokens != wanted.max_tokens) {
    return absl::StrCat("has answers of at most ", found.max_tokens, " tokens, not of ", wanted.max_tokens);
  }
  return "";
}

RunResult FromJson(const Json& json) {
  RunResult run;
  run.prompt_tokens = json.at("prompt_tokens");
  run.right = json.at("right");
  run.nll = json.at("nll");
  run.answer_tokens = json.at("answer_tokens");
  run.ttft_seconds = json.at("ttft_s");
  run.cached_tokens = json.value("cached_tokens", int64_t{0});
  run.same_as = json.value("same_as", "");
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

absl::StatusOr<Results> Results::Open(const std::string& path, const std::optional<Provenance>& provenance) {
  Results results(path, provenance);
  std::ifstream file(path);
  std::string line;
  uintmax_t whole = 0;  // bytes of complete lines
  for (int number = 1; std::getline(file, line) && !file.eof(); ++number) {
    whole += line.size() + 1;
    SLIMFILL_RETURN_IF_ERROR(results.AddLine(line, number));
  }
  std::error_code ignored;
  if (provenance.has_value() && std::filesystem::exists(path, ignored) &&
      std::filesystem::file_size(path, ignored) > whole) {
    std::filesystem::resize_file(path, whole, ignored);  // what is appended must not go on in the broken line
  }
  return results;
}

absl::Status Results::CheckPlan(const Arm& arm) const {
  const auto found = plans_.find(arm.name);
  if (found == plans_.end() || found->second == PlanId(arm)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path_, ": arm ", arm.name, " was run there with the plan ",
                                                 found->second, ", now it is ", PlanId(arm),
                                                 ": give --out another file"));
}

const RunResult* Results::Find(const std::string& case_id, const std::string& arm) const {
  const auto found = index_.find(case_id);
  if (found == index_.end()) return nullptr;
  const auto& by_arm = cases_[found->second].by_arm;
  const auto run = by_arm.find(arm);
  return run == by_arm.end() ? nullptr : &run->second;
}

absl::Status Results::Append(const std::string& case_id, const std::string& document_id, const EvalCase& test_case,
                             const Arm& arm, const RunResult& run) {
  // Outputs may break off inside a character.
  const std::string line = ToJson(case_id, document_id, test_case, arm, run, *provenance_)
                               .dump(-1, ' ', false, Json::error_handler_t::replace);
  std::ofstream file(path_, std::ios::app);
  file << line << "\n";
  if (!file.flush()) return absl::UnavailableError(absl::StrCat("cannot write ", path_));
  return AddLine(line, 0);
}

absl::Status Results::AddLine(const std::string& line, int number) {
  try {
    const Json json = Json::parse(line);
    if (!provenance_.has_value()) provenance_ = ProvenanceOf(json);
    const std::string difference = Difference(ProvenanceOf(json), *provenance_);
    if (!difference.empty()) return Refuse(number, difference);
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
    const std::string arm = json.at("arm");
    cases_[entry->second].by_arm[arm] = FromJson(json);
    plans_[arm] = json.value("plan", "");
  } catch (const Json::exception& error) {
    return Refuse(number, absl::StrCat("is not ours (", error.what(), ")"));
  }
  return absl::OkStatus();
}

absl::Status Results::Refuse(int line, absl::string_view why) const {
  return absl::InvalidArgumentError(absl::StrCat(path_, ": line ", line, " ", why, ": give --out another file"));
}

}  // namespace slimfill::eval
