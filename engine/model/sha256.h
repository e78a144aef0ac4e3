// SHA-256 of a model's bytes: names the model in the KV store's keys.
#pragma once

#include <cstddef>
#include <string>

#include "absl/types/span.h"

namespace slimfill::engine {

std::string Sha256HexOf(absl::Span<const std::byte> bytes);

}  // namespace slimfill::engine
