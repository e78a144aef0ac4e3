#include "engine/prompt_links.h"

#include <algorithm>

namespace slimfill::engine {

PromptLinks::PromptLinks(std::vector<LayerHead> heads, int64_t prompt_tokens)
    : heads_(std::move(heads)), looks_(BlockCount(prompt_tokens) * kBlockTokens * heads_.size()) {}

void PromptLinks::Record(int layer, ConstMatrix q, absl::Span<const int32_t> positions, const AttentionShape& shape,
                         KvLayerView kv, Backend& backend) {
  std::vector<int> heads;
  std::vector<size_t> columns;
  for (size_t i = 0; i < heads_.size(); ++i) {
    if (heads_[i].layer != layer) continue;
    heads.push_back(heads_[i].head);
    columns.push_back(i);
  }
  if (heads.empty()) return;
  std::vector<FarLook> looks(positions.size() * heads.size());
  backend.LookBack(q, positions, heads, shape, kv, absl::MakeSpan(looks));
  for (size_t row = 0; row < positions.size(); ++row) {
    for (size_t i = 0; i < heads.size(); ++i) {
      looks_[positions[row] * heads_.size() + columns[i]] = looks[row * heads.size() + i];
    }
  }
}

std::vector<UnitLink> PromptLinks::UnitLinks() const {
  std::vector<UnitLink> links;
  for (size_t i = 0; i < looks_.size(); ++i) {
    const auto unit = static_cast<int32_t>(i / (heads_.size() * kUnitTokens));
    const FarLook& look = looks_[i];
    if (look.unit >= 0 && look.unit < unit && look.mass > 0 && look.mass <= 1) {
      links.push_back({unit, look.unit, look.mass});
    }
  }
  return links;
}

std::vector<FarLook> PromptLinks::BestLooks(size_t index, int count) const {
  const size_t tokens = looks_.size() / heads_.size();
  std::vector<FarLook> best(tokens / kUnitTokens * count);
  for (size_t token = 0; token < tokens; ++token) {
    const FarLook& look = looks_[token * heads_.size() + index];
    FarLook* const first = best.data() + token / kUnitTokens * count;
    FarLook* const end = first + count;
    if (look.unit < 0) continue;
    FarLook* place = std::find_if(first, end, [&](const FarLook& known) { return known.unit == look.unit; });
    if (place == end) place = end - 1;  // the least of them has to go
    if (look.mass <= place->mass) continue;
    *place = look;
    std::stable_sort(first, end, [](const FarLook& a, const FarLook& b) { return a.mass > b.mass; });
  }
  return best;
}

}  // namespace slimfill::engine
