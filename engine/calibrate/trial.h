// What plans cost in answers, end to end. The share of the evidence that a plan keeps does not tell: behind an early
// pruning, what stays has read less of what leaves.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/calibrate/cases.h"
#include "engine/calibrate/choose.h"
#include "engine/eval/summary.h"
#include "engine/prune/plan.h"
#include "engine/study_engine.h"

namespace slimfill::calibrate {

// The arms' names in results.
inline constexpr char kDenseArm[] = "dense", kPlanArm[] = "plan";
eval::Arm PlanArm(const engine::PrunePlan& plan);

struct Trial {
  size_t candidate = 0;
  size_t questions = 0;
  eval::Estimate nll;  // answers' over dense, nats a token: mean over the questions
  // The same, but a question counts at most 1 nat either way, so that a few do not decide it; and its standard error.
  double loss = 0, loss_error = 0;
  double flops_ratio = 1;  // dense over plan, mean
};

// `pruned` are of the first of the questions of `dense`, in the same order, by kPlanArm and kDenseArm.
Trial Compare(size_t candidate, const std::vector<eval::CaseResult>& dense,
              const std::vector<eval::CaseResult>& pruned);

// Runs candidates on the questions, the cheapest first, up to the first that loses at most `margin`; one that loses
// more beyond doubt, after a third of the questions or later, is not run further. Prints a table.
std::vector<Trial> TryPlans(engine::StudyEngine& engine, const Questions& questions,
                            const std::vector<Candidate>& candidates, double margin);

// The candidate that the trials speak for: of those that lose at most `margin` the cheapest, else the one that loses
// least; the first without trials.
size_t BestCandidate(const std::vector<Trial>& trials, double margin);

// Where a plan prunes: "3, 13".
std::string PruneLayers(const engine::PrunePlan& plan);

}  // namespace slimfill::calibrate
