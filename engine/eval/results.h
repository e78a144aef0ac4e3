// The results file of slimfill-eval: a JSON line for each case and arm, appended as they come. Every line says what it
// was made from.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/eval/arm.h"
#include "engine/eval/run.h"
#include "engine/eval/summary.h"
#include "engine/eval/task.h"

namespace slimfill::eval {

// What results depend on beside case and arm.
struct Provenance {
  std::string corpus;  // its fingerprint: cases are the same where this is
  std::string model;
  std::string model_sha256;
  std::string linear = "bf16";  // EngineInfo::arithmetic
  int max_tokens = 0;
  std::string program;  // name and version; only told, not compared
};

class Results {
 public:
  // Reads what the file holds; one that is not there is empty. INVALID_ARGUMENT when a line is not of such a file, or
  // was not made from `provenance` (from what the first line was made from, when there is none). A last line that was
  // cut off is dropped.
  static absl::StatusOr<Results> Open(const std::string& path, const std::optional<Provenance>& provenance);

  // INVALID_ARGUMENT when the file has results of an arm of this name with another plan.
  absl::Status CheckPlan(const Arm& arm) const;

  const RunResult* Find(const std::string& case_id, const std::string& arm) const;  // null: not run yet
  // UNAVAILABLE when the line cannot be written. REQUIRES: opened with a provenance.
  absl::Status Append(const std::string& case_id, const std::string& document_id, const EvalCase& test_case,
                      const Arm& arm, const RunResult& run);
  // In the order of their first lines.
  const std::vector<CaseResult>& cases() const { return cases_; }

 private:
  Results(std::string path, std::optional<Provenance> provenance)
      : path_(std::move(path)), provenance_(std::move(provenance)) {}
  absl::Status AddLine(const std::string& line, int number);
  absl::Status Refuse(int line, absl::string_view why) const;

  std::string path_;
  std::optional<Provenance> provenance_;
  std::map<std::string, std::string> plans_;  // by arm
  std::map<std::string, size_t> index_;       // in cases_, by case
  std::vector<CaseResult> cases_;
};

}  // namespace slimfill::eval
