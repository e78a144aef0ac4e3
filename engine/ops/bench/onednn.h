// oneDNN's matrix product on the shapes of our own, to compare with. The functions are there in every build; without
// oneDNN at build time OneDnnVersion() is empty and nothing else may be called.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/tensor/matrix.h"

namespace slimfill::engine {

// "" when this program was built without oneDNN.
std::string OneDnnVersion();

// out [rows, n] = x [rows, k] * weight [n, k]^T. The weight is packed once into the layout that oneDNN itself prefers
// for the shape (tag::any), as an inference engine would do.
class OneDnnGemm {
 public:
  virtual ~OneDnnGemm() = default;
  virtual void Run() = 0;
};

// x bf16, weight f32 (rounded to bf16 here), out bf16 or f32; all dense and borrowed, weight only during the call.
// `threads`: of OpenMP from now on, in this whole process. Null when oneDNN has no bf16 product for this machine.
std::unique_ptr<OneDnnGemm> MakeOneDnnGemm(ConstMatrix x, ConstMatrix weight, Matrix out, int threads);

}  // namespace slimfill::engine
