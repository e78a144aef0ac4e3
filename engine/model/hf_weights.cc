#include "engine/model/hf_weights.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "engine/model/json_object.h"

namespace slimfill::engine {
namespace {

constexpr char kWhole[] = "model.safetensors";
constexpr char kIndex[] = "model.safetensors.index.json";
constexpr size_t kMaxIndexBytes = 16 << 20;
constexpr size_t kMaxShards = 1024;

constexpr TensorNames kHfNames = {
    .embedding = "model.embed_tokens",
    .output_norm = "model.norm",
    .output = "lm_head",
    .layer = "model.layers.",
    .attention_norm = "input_layernorm",
    .q = "self_attn.q_proj",
    .k = "self_attn.k_proj",
    .v = "self_attn.v_proj",
    .q_norm = "self_attn.q_norm",
    .k_norm = "self_attn.k_norm",
    .attention_out = "self_attn.o_proj",
    .ffn_norm = "post_attention_layernorm",
    .gate = "mlp.gate_proj",
    .up = "mlp.up_proj",
    .down = "mlp.down_proj",
    .llama_heads_interleaved = false,
    .rows_first = true,
};

// A shard lies beside its index; a name that leads elsewhere is none that we would open. (A link in the directory may
// point anywhere: whoever put it there can read the file anyway.)
bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name[0] != '.' && !absl::StrContains(name, "/") &&
         name.find('\0') == std::string::npos && absl::EndsWith(name, ".safetensors");
}

}  // namespace

const TensorNames& HfWeights::names() const { return kHfNames; }

const StoredTensor* HfWeights::FindTensor(absl::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second.first];
}

absl::StatusOr<std::unique_ptr<HfWeights>> HfWeights::Open(const std::string& directory,
                                                           const SafetensorsLimits& limits) {
  std::unique_ptr<HfWeights> weights(new HfWeights(directory));
  absl::Status status = weights->AddFile(kWhole, limits);
  if (absl::IsNotFound(status)) status = weights->AddShards(absl::StrCat(directory, "/", kIndex), limits);
  if (absl::IsNotFound(status)) {
    return absl::InvalidArgumentError(absl::StrCat(
        directory, ": there is neither ", kWhole, " nor ", kIndex,
        ": give a directory with the model's weights as safetensors (convert other formats with transformers' "
        "save_pretrained), or a GGUF file"));
  }
  if (!status.ok()) return status;
  return weights;
}

absl::Status HfWeights::AddFile(const std::string& file, const SafetensorsLimits& limits) {
  const std::string path = absl::StrCat(directory_, "/", file);
  SLIMFILL_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::Open(path));
  SLIMFILL_ASSIGN_OR_RETURN(std::vector<StoredTensor> tensors, ParseSafetensors(mapping.bytes(), path, limits));
  for (StoredTensor& tensor : tensors) {
    const auto [entry, is_new] = by_name_.try_emplace(tensor.name, tensors_.size(), file);
    if (!is_new) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": tensor ", QuotedForError(absl::string_view(tensor.name)),
                                                     " is in ", entry->second.second, ", too: fetch the model again"));
    }
    tensors_.push_back(std::move(tensor));
  }
  files_.emplace(file, std::move(mapping));
  return absl::OkStatus();
}

absl::Status HfWeights::AddShards(const std::string& index_path, const SafetensorsLimits& limits) {
  SLIMFILL_ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonFile(index_path, kMaxIndexBytes));
  const JsonObject index(json, index_path);
  SLIMFILL_RETURN_IF_ERROR(index.Object("weight_map").status());
  const nlohmann::json& map = *index.Find("weight_map");
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : map.items()) {
    if (!shard.is_string() || !IsPlainFileName(shard.get_ref<const std::string&>())) {
      return index.Invalid("tensor ", QuotedForError(absl::string_view(tensor)), " is said to be in ",
                           QuotedForError(shard), ", which is not the name of a .safetensors file in this directory");
    }
    shards.insert(shard.get_ref<const std::string&>());
  }
  if (shards.empty() || shards.size() > kMaxShards) {
    return index.Invalid("it names ", shards.size(), " shards, allowed are 1 to ", kMaxShards);
  }
  for (const std::string& shard : shards) {
    const absl::Status status = AddFile(shard, limits);
    if (absl::IsNotFound(status)) {
      return index.Invalid("it names ", shard, ", which is not there: fetch the model again, with all its shards");
    }
    SLIMFILL_RETURN_IF_ERROR(status);
  }
  for (const auto& [tensor, shard] : map.items()) {
    const auto found = by_name_.find(tensor);
    if (found != by_name_.end() && found->second.second == shard.get_ref<const std::string&>()) continue;
    return index.Invalid("tensor ", QuotedForError(absl::string_view(tensor)), " is not in ", QuotedForError(shard),
                         ": fetch the model again, with the index that belongs to the shards");
  }
  if (map.size() != tensors_.size()) {
    return index.Invalid("it names ", map.size(), " tensors, the shards hold ", tensors_.size(),
                         ": fetch the model again, with the index that belongs to the shards");
  }
  return absl::OkStatus();
}

}  // namespace slimfill::engine
