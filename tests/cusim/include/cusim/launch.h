// Kernel launches.
#pragma once

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "cusim/host_api.h"
#include "cusim/vector_types.h"

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace cusim {

// `lane_body` runs once for every lane. Errors are those of a device of compute capability 8.9.
cudaError_t Launch(const void* kernel, const cudaLaunchConfig_t& config, std::function<void()> lane_body);
cudaError_t SetMaxDynamicShared(const void* kernel, int bytes);
// Ends the process unless `p` is null or device or pinned memory.
void CheckKernelArgument(int index, const void* p);

template <typename T>
void CheckArgument(int index, const T& value) {
  if constexpr (std::is_pointer_v<T>) CheckKernelArgument(index, static_cast<const void*>(value));
}

}  // namespace cusim

template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  std::tuple<std::decay_t<Parameters>...> values{static_cast<Parameters>(arguments)...};
  [&]<size_t... I>(std::index_sequence<I...>) {
    (cusim::CheckArgument(static_cast<int>(I), std::get<I>(values)), ...);
  }(std::index_sequence_for<Parameters...>{});
  return cusim::Launch(reinterpret_cast<const void*>(kernel), *config,
                       [kernel, values] { std::apply(kernel, values); });
}
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaErrorInvalidValue;
  return cusim::SetMaxDynamicShared(reinterpret_cast<const void*>(kernel), value);
}
