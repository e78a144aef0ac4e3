// Copies large blocks past the caches. What is fetched is larger than they are, and a plain memcpy reads the
// destination's memory before it writes it; on some machines (Zen 3) memcpy also falls to a third of its speed where
// source and destination lie differently in their pages, because the C library turns to `rep movsb` there.
#pragma once

#include <cstddef>

#include "absl/types/span.h"

namespace slimfill::kvstore {

// to.size() == from.size(); they do not overlap. Other threads see the bytes once this has returned and they have
// synchronised with the caller, as with memcpy.
void StreamCopy(absl::Span<const std::byte> from, absl::Span<std::byte> to);

// From so many bytes on it pays to go past the caches.
constexpr size_t kStreamFromBytes = 16 * 1024;

// For copies in pieces: whatever their size they go past the caches, and other threads see them after StreamFence only.
void StreamCopyUnfenced(absl::Span<const std::byte> from, absl::Span<std::byte> to);
void StreamFence();

}  // namespace slimfill::kvstore
