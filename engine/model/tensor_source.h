// The tensors of a model, whatever format holds them, and what the format calls them.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/model/stored_tensor.h"

namespace slimfill::engine {

// A format's names. Layers' are `layer` + number + "." + part; matrices and norms end in ".weight", biases in ".bias".
struct TensorNames {
  const char* embedding;
  const char* output_norm;
  const char* output;
  const char* layer;
  const char *attention_norm, *q, *k, *v, *q_norm, *k_norm, *attention_out;
  const char *ffn_norm, *gate, *up, *down;
  bool llama_heads_interleaved;  // the llama architecture's query and key rows lie in pairs, not in halves
  bool rows_first;               // shapes are written [rows, columns]
};

// Immutable; safe to read from any thread.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual const std::string& name() const = 0;  // for errors
  virtual const std::vector<StoredTensor>& tensors() const = 0;
  virtual const StoredTensor* FindTensor(absl::string_view name) const = 0;  // null when absent
  virtual const TensorNames& names() const = 0;
};

}  // namespace slimfill::engine
