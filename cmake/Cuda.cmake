# The CUDA backend: the same sources are compiled by nvcc (SLIMFILL_CUDA=ON) or, against the emulated runtime of
# tests/cusim, by the C++ compiler (EMULATED).
if(NOT SLIMFILL_CUDA MATCHES "^(OFF|ON|EMULATED)$")
  message(FATAL_ERROR "SLIMFILL_CUDA is \"${SLIMFILL_CUDA}\": use OFF, ON or EMULATED")
endif()

if(SLIMFILL_CUDA STREQUAL "ON")
  # scripts/setup.sh --cuda makes a toolkit of NVIDIA's wheels; a system's nvcc on the PATH is used without it.
  set(SLIMFILL_CUDA_TOOLKIT "$ENV{HOME}/.cache/slimfill/cuda" CACHE PATH "Where setup.sh --cuda put the toolkit")
  if(NOT CMAKE_CUDA_COMPILER AND EXISTS ${SLIMFILL_CUDA_TOOLKIT}/bin/nvcc)
    set(CMAKE_CUDA_COMPILER ${SLIMFILL_CUDA_TOOLKIT}/bin/nvcc)
  endif()
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 89-real 90)  # newer ones compile 90's PTX when they load it
  endif()
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
  # CMake before 3.26 asks for a library that CUDA 13 has no more.
  if(NOT TARGET CUDA::nvToolsExt)
    add_library(CUDA::nvToolsExt INTERFACE IMPORTED)
  endif()
  find_package(CUDAToolkit 13.0 REQUIRED)
endif()

# The emulated device's kernels trap where a vector is not aligned, as a GPU does; sanitizers report it themselves.
if(NOT SLIMFILL_SANITIZE MATCHES "undefined")
  set(SLIMFILL_CUSIM_KERNEL_FLAGS "-fsanitize=alignment;-fsanitize-undefined-trap-on-error")
endif()

# slimfill_cuda_library(NAME SOURCES a.cc KERNELS b.cu DEPS x): a library of host code and kernels.
function(slimfill_cuda_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;KERNELS;DEPS" ${ARGN})
  if(SLIMFILL_CUDA STREQUAL "EMULATED")
    set_source_files_properties(${ARG_KERNELS} PROPERTIES
      LANGUAGE CXX COMPILE_OPTIONS "-xc++;-O2;-Wno-unknown-pragmas;${SLIMFILL_CUSIM_KERNEL_FLAGS}")
    slimfill_library(${name} SOURCES ${ARG_SOURCES} ${ARG_KERNELS} DEPS ${ARG_DEPS} cusim)
  else()
    slimfill_library(${name} SOURCES ${ARG_SOURCES} DEPS ${ARG_DEPS} ${name}_kernels CUDA::cudart_static CUDA::cublasLt)
    add_library(${name}_kernels STATIC ${ARG_KERNELS})
    # CMake 3.25 does not know how to ask nvcc for more than C++17.
    set_target_properties(${name}_kernels PROPERTIES CUDA_STANDARD 17)
    # Every kernel's resources are kept beside the objects, for scripts/check_kernel_resources.py.
    target_compile_options(${name}_kernels PRIVATE -Xptxas=-v)
    set_target_properties(${name}_kernels PROPERTIES
      CUDA_COMPILER_LAUNCHER ${CMAKE_SOURCE_DIR}/scripts/keep_ptxas_log.sh)
  endif()
endfunction()
