#include "engine/study_engine.h"

namespace slimfill::engine {

absl::Span<const float> HeadStudy::Units(LayerHead head) const {
  const int64_t count = blocks * kUnitsPerBlock;
  return absl::MakeConstSpan(units).subspan((int64_t{head.layer} * heads + head.head) * count, count);
}

void HeadStudy::AppendLinks(LayerHead head, std::vector<UnitLink>& links) const {
  const int64_t units_in_prompt = blocks * kUnitsPerBlock;
  const FarLook* look = looks.data() + (int64_t{head.layer} * heads + head.head) * units_in_prompt * kLinksPerUnit;
  for (int32_t unit = 0; unit < units_in_prompt; ++unit) {
    for (int i = 0; i < kLinksPerUnit; ++i, ++look) {
      if (look->unit >= 0) links.push_back({unit, look->unit, look->mass});
    }
  }
}

}  // namespace slimfill::engine
