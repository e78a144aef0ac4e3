#include "engine/model/safetensors.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "engine/model/json_object.h"

namespace slimfill::engine {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr char kMetadata[] = "__metadata__";

std::optional<GgmlType> TypeOf(absl::string_view dtype) {
  if (dtype == "F32") return GgmlType::kF32;
  if (dtype == "F16") return GgmlType::kF16;
  if (dtype == "BF16") return GgmlType::kBF16;
  return std::nullopt;
}

class Parser {
 public:
  Parser(absl::Span<const std::byte> bytes, const std::string& name, const SafetensorsLimits& limits)
      : bytes_(bytes), name_(name), limits_(limits) {}

  absl::StatusOr<std::vector<StoredTensor>> Parse() {
    SLIMFILL_ASSIGN_OR_RETURN(const absl::string_view header, Header());
    SLIMFILL_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(header, absl::StrCat(name_, ": the header")));
    if (!json.is_object()) return Invalid("the header is not a JSON object: is it a safetensors file?");
    if (json.size() > limits_.max_tensors) {
      return Invalid("the header has ", json.size(), " entries, the limit is ", limits_.max_tensors);
    }
    std::vector<StoredTensor> tensors;
    for (const auto& [key, value] : json.items()) {
      if (key == kMetadata) {
        SLIMFILL_RETURN_IF_ERROR(CheckMetadata(value));
        continue;
      }
      SLIMFILL_ASSIGN_OR_RETURN(StoredTensor tensor, Tensor(key, value));
      tensors.push_back(std::move(tensor));
    }
    SLIMFILL_RETURN_IF_ERROR(CheckCover(tensors));
    return tensors;
  }

 private:
  template <typename... Parts>
  absl::Status Invalid(const Parts&... parts) const {
    return absl::InvalidArgumentError(absl::StrCat(name_, ": ", parts...));
  }

  // Sets data_, too.
  absl::StatusOr<absl::string_view> Header() {
    if (bytes_.size() < kLengthBytes) {
      return Invalid("the file has ", bytes_.size(), " bytes, too few for a safetensors file: fetch it again");
    }
    uint64_t header_bytes = 0;
    for (size_t i = 0; i < kLengthBytes; ++i) header_bytes |= static_cast<uint64_t>(bytes_[i]) << (8 * i);
    if (header_bytes > limits_.max_header_bytes) {
      return Invalid("the header has ", header_bytes, " bytes, the limit is ", limits_.max_header_bytes,
                     ": is it a safetensors file?");
    }
    if (header_bytes > bytes_.size() - kLengthBytes) {
      return Invalid("the header has ", header_bytes, " bytes, the file only ", bytes_.size() - kLengthBytes,
                     " behind the length: it is cut off, fetch it again");
    }
    data_ = bytes_.subspan(kLengthBytes + header_bytes);
    return absl::string_view(reinterpret_cast<const char*>(bytes_.data()) + kLengthBytes, header_bytes);
  }

  absl::Status CheckMetadata(const nlohmann::json& value) const {
    const bool strings = value.is_object() && std::all_of(value.begin(), value.end(), [](const nlohmann::json& entry) {
                           return entry.is_string();
                         });
    return strings ? absl::OkStatus() : Invalid("\"", kMetadata, "\" is not an object of strings");
  }

  absl::StatusOr<StoredTensor> Tensor(const std::string& tensor_name, const nlohmann::json& value) const {
    if (tensor_name.empty() || tensor_name.size() > limits_.max_name_bytes) {
      return Invalid("a tensor's name has ", tensor_name.size(), " bytes, allowed are 1 to ", limits_.max_name_bytes);
    }
    const std::string place = absl::StrCat(name_, ": tensor ", QuotedForError(absl::string_view(tensor_name)));
    if (!value.is_object()) return absl::InvalidArgumentError(absl::StrCat(place, " is not an object"));
    const JsonObject object(value, place);
    SLIMFILL_ASSIGN_OR_RETURN(const std::string dtype, object.String("dtype"));
    const std::optional<GgmlType> type = TypeOf(dtype);
    if (!type.has_value()) {
      return object.Invalid("the dtype ", QuotedForError(absl::string_view(dtype)),
                            " is not supported, F32, F16 and BF16 are: use the model's unquantised form, or convert it "
                            "to BF16");
    }
    StoredTensor tensor{tensor_name, *type, {}, {}};
    SLIMFILL_ASSIGN_OR_RETURN(const uint64_t elements, Shape(object, tensor.shape));
    SLIMFILL_ASSIGN_OR_RETURN(tensor.bytes, Bytes(object, elements, GgmlBlockBytes(*type)));
    return tensor;
  }

  // Fills `shape`, columns first; the product.
  absl::StatusOr<uint64_t> Shape(const JsonObject& object, std::vector<int64_t>& shape) const {
    const nlohmann::json* sizes = object.Find("shape");
    if (sizes == nullptr || !sizes->is_array() || sizes->empty() || sizes->size() > limits_.max_dimensions) {
      return object.Invalid("the shape must be an array of 1 to ", limits_.max_dimensions, " sizes");
    }
    uint64_t elements = 1;
    for (const nlohmann::json& size : *sizes) {
      // Nothing in the file can have more elements than it has bytes; this also keeps the product from overflowing.
      const bool fits =
          size.is_number_unsigned() && size.get<uint64_t>() >= 1 && size.get<uint64_t>() <= data_.size() / elements;
      if (!fits) {
        return object.Invalid("the shape's size ", QuotedForError(size),
                              " is not an integer from 1 to what the file's ", data_.size(), " bytes of data can hold");
      }
      elements *= size.get<uint64_t>();
      shape.push_back(static_cast<int64_t>(size.get<uint64_t>()));
    }
    std::reverse(shape.begin(), shape.end());
    return elements;
  }

  absl::StatusOr<absl::Span<const std::byte>> Bytes(const JsonObject& object, uint64_t elements,
                                                    uint64_t element_bytes) const {
    const nlohmann::json* offsets = object.Find("data_offsets");
    if (offsets == nullptr || !offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
        !(*offsets)[1].is_number_unsigned()) {
      return object.Invalid("\"data_offsets\" must be two unsigned integers");
    }
    const uint64_t begin = (*offsets)[0].get<uint64_t>(), end = (*offsets)[1].get<uint64_t>();
    if (begin > end || end > data_.size()) {
      return object.Invalid("\"data_offsets\" are ", begin, " and ", end, ", the file has ", data_.size(),
                            " bytes of data: it is cut off or damaged, fetch it again");
    }
    if (elements * element_bytes != end - begin) {
      return object.Invalid("the shape needs ", elements * element_bytes, " bytes, \"data_offsets\" give ", end - begin,
                            ": the file is damaged, fetch it again");
    }
    return data_.subspan(begin, end - begin);
  }

  // Sorts the tensors by their bytes. The format wants the data covered without gaps or overlaps: nothing can hide in
  // the file, and no two tensors share bytes.
  absl::Status CheckCover(std::vector<StoredTensor>& tensors) const {
    std::sort(tensors.begin(), tensors.end(),
              [](const StoredTensor& a, const StoredTensor& b) { return a.bytes.data() < b.bytes.data(); });
    const std::byte* next = data_.data();
    for (const StoredTensor& tensor : tensors) {
      if (tensor.bytes.data() != next) {
        return Invalid("tensor ", QuotedForError(absl::string_view(tensor.name)), " begins at byte ",
                       tensor.bytes.data() - data_.data(), " of the data, the one before ends at ", next - data_.data(),
                       tensor.bytes.data() < next ? ": they overlap" : ": there is a gap",
                       "; the file is damaged, fetch it again");
      }
      next += tensor.bytes.size();
    }
    const auto covered = static_cast<size_t>(next - data_.data());
    if (covered == data_.size()) return absl::OkStatus();
    return Invalid(data_.size() - covered,
                   " bytes behind the last tensor belong to none: the file is damaged, fetch it again");
  }

  const absl::Span<const std::byte> bytes_;
  const std::string& name_;
  const SafetensorsLimits& limits_;
  absl::Span<const std::byte> data_;  // behind the header
};

}  // namespace

absl::StatusOr<std::vector<StoredTensor>> ParseSafetensors(absl::Span<const std::byte> bytes, const std::string& name,
                                                           const SafetensorsLimits& limits) {
  return Parser(bytes, name, limits).Parse();
}

}  // namespace slimfill::engine
