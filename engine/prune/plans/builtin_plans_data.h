// The plan files of engine/prune/plans, as the build found them.
#pragma once

#include <vector>

namespace slimfill::engine {

const std::vector<const char*>& BuiltinPlanTexts();

}  // namespace slimfill::engine
