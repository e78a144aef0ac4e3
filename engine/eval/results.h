// The results file of slimfill-eval: a JSON line for each case and arm, appended as they come.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/eval/run.h"
#include "engine/eval/summary.h"
#include "engine/eval/task.h"

namespace slimfill::eval {

class Results {
 public:
  // Reads what the file holds; one that is not there is empty. INVALID_ARGUMENT when a line is not of such a file.
  static absl::StatusOr<Results> Open(const std::string& path);

  bool Has(const std::string& case_id, const std::string& arm) const;
  // UNAVAILABLE when the line cannot be written.
  absl::Status Append(const std::string& case_id, const std::string& document_id, const EvalCase& test_case,
                      const std::string& arm, const RunResult& run);
  // In the order of their first lines.
  const std::vector<CaseResult>& cases() const { return cases_; }

 private:
  explicit Results(std::string path) : path_(std::move(path)) {}
  absl::Status AddLine(const std::string& line);

  std::string path_;
  std::map<std::string, size_t> index_;  // in cases_, by case
  std::vector<CaseResult> cases_;
};

}  // namespace slimfill::eval
