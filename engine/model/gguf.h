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

namespace slimfill::engine {

// Tensor element types, numbered as in the file.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};
const char* GgmlTypeName(GgmlType type);
int64_t GgmlBlockElements(GgmlType type);  // 1, 32 or 256
int64_t GgmlBlockBytes(GgmlType type);

struct GgufTensor {
  std::string name;
  GgmlType type;
  std::vector<int64_t> shape;         // as in the file: shape[0] is the contiguous dimension (columns), shape[1] rows
  absl::Span<const std::byte> bytes;  // inside the mapping, length checked against shape and type
  int64_t cols() const { return shape[0]; }
  int64_t rows() const;  // product of the other dimensions
};

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
// object; the file must not be truncated meanwhile (replace models by renaming): reading past its new end would be
// SIGBUS.
class GgufFile {
 public:
  // NOT_FOUND, PERMISSION_DENIED, or INVALID_ARGUMENT with the file name, the offending key or tensor, and what is
  // wrong.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path, const GgufLimits& limits = {});
  // The same for bytes already in memory (borrowed); `name` is used in errors. For tests and fuzzing.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Parse(absl::Span<const std::byte> bytes, const std::string& name,
                                                         const GgufLimits& limits = {});
  ~GgufFile();

  const std::string& name() const;
  const std::vector<GgufTensor>& tensors() const;
  const GgufTensor* FindTensor(absl::string_view name) const;  // null when absent
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
