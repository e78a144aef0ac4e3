// What the runs of an evaluation say, arm by arm: paired with the first arm, case by case.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/eval/run.h"

namespace slimfill::eval {

struct CaseResult {
  std::string case_id;  // the same for all arms
  std::string kind;
  int64_t target_tokens = 0;
  bool question_first = false;
  bool judged = false;  // has accepted answers
  std::map<std::string, RunResult> by_arm;
};

// A mean with its bootstrap 95 % interval.
struct Estimate {
  double mean = 0, low = 0, high = 0;
};
Estimate BootstrapMean(const std::vector<double>& values);

// Tables for people: all cases by arm, then accuracy by kind. Only cases that every arm has run count.
std::string SummaryTable(const std::vector<CaseResult>& results, const std::vector<std::string>& arms);

}  // namespace slimfill::eval
