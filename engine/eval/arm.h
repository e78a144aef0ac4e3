// Arms: the ways of running a prompt that an evaluation compares.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/engine.h"

namespace slimfill::eval {

struct Arm {
  std::string name;
  engine::PruningMode mode = engine::PruningMode::kAuto;
  std::shared_ptr<const engine::PrunePlan> plan;  // null: the engine's own
  bool needs_evidence = false;                    // blocks are given: those that hold the evidence
};

// Names and what they are, for --help.
std::vector<std::pair<std::string, std::string>> ArmNames();

// One of ArmNames, or "plan:FILE", either with "-noswap" behind it (decode never exchanges blocks). INVALID_ARGUMENT
// with the names that there are.
absl::StatusOr<Arm> MakeArm(absl::string_view name, const engine::EngineInfo& info);

// Name and a hash of the plan that the arm asks for; "" for none.
std::string PlanId(const Arm& arm);

}  // namespace slimfill::eval
