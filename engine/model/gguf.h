// GGUF files: memory-mapped and fully validated before anything is used. Format: ggml's GGUF versions 2 and 3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/model/tensor_source.h"

namespace slimfill::engine {

struct GgufArray;
// Every scalar is widened: unsigned to uint64, signed to int64, f32 and f64 to double.
using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string, std::shared_ptr<GgufArray>>;
struct GgufArray {  // homogeneous; only the kind's vector is used
  enum class Kind { kStrings, kInts, kFloats };
  Kind kind = Kind::kInts;
  std::vector<std::string> strings;
  std::vector<int64_t> ints;  // all integer types and bool; u64 above 2^63 is an error
  std::vector<double> floats;
};

// Limits on what a file may claim, checked before any allocation that depends on it.
struct GgufLimits {
  uint64_t max_keys = 4096;
  uint64_t max_tensors = 65536;
  uint64_t max_array_elements = 1u << 24;
  uint64_t max_string_bytes = 1u << 20;
  uint64_t max_alignment = 65536;
};

// Immutable after Open; safe to read from any thread. Tensors point into the mapping, which lives as long as this
// object (see MappedFile for what must not happen to the file meanwhile).
class GgufFile final : public TensorSource {
 public:
  // NOT_FOUND, PERMISSION_DENIED, or INVALID_ARGUMENT with the file name, the offending key or tensor, and what is
  // wrong.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path, const GgufLimits& limits = {});
  // The same for bytes already in memory (borrowed); `name` is used in errors. For tests and fuzzing.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Parse(absl::Span<const std::byte> bytes, const std::string& name,
                                                         const GgufLimits& limits = {});
  ~GgufFile() override;

  const std::string& name() const override;
  const std::vector<StoredTensor>& tensors() const override;
  const StoredTensor* FindTensor(absl::string_view name) const override;
  const TensorNames& names() const override;
  const std::map<std::string, GgufValue, std::less<>>& metadata() const;

  // Typed metadata: NOT_FOUND when absent, INVALID_ARGUMENT when of another type or out of range.
  absl::StatusOr<int64_t> GetInt(absl::string_view key) const;
  absl::StatusOr<double> GetFloat(absl::string_view key) const;
  absl::StatusOr<bool> GetBool(absl::string_view key) const;
  absl::StatusOr<std::string> GetString(absl::string_view key) const;
  absl::StatusOr<const std::vector<std::string>*> GetStrings(absl::string_view key) const;
  absl::StatusOr<const std::vector<int64_t>*> GetInts(absl::string_view key) const;
  // SHA-256 of the file's bytes as hex, computed on first use (0.5 GB takes about 0.4 s with SHA-NI), cached. Thread
  // safe.
  std::string Sha256Hex() const;

 private:
  GgufFile();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slimfill::engine
