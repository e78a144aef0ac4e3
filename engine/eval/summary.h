// What the runs of an evaluation say, arm by arm: paired with the first arm, case by case.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/eval/run.h"

namespace slimfill::eval {

struct CaseResult {
  std::string case_id;      // the same for all arms
  std::string document_id;  // the same for all cases over one document
  std::string kind;
  int64_t target_tokens = 0;
  bool question_first = false;
  bool judged = false;  // has accepted answers
  std::map<std::string, RunResult> by_arm;
};

struct Observed {
  double value = 0;
  std::string document_id;
};

// The mean over all values, with a bootstrap 95 % interval that draws documents, each with all its values: questions
// about one document are not independent. Of one document there is no interval.
struct Estimate {
  double mean = 0, low = 0, high = 0;
  bool has_interval = false;
};
Estimate BootstrapMean(const std::vector<Observed>& values);

// Tables for people: all cases by arm, then accuracy by kind. Only cases that every arm has run count.
std::string SummaryTable(const std::vector<CaseResult>& results, const std::vector<std::string>& arms);

}  // namespace slimfill::eval
