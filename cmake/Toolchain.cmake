# Compiler flags, ccache, mold and sanitizers. Kernels set their own instruction-set flags per file; everything else is
# built for plain x86-64, so that the programs start everywhere and choose kernels at run time.
# For C and C++: nvcc has flags of its own.
add_compile_options("$<$<COMPILE_LANGUAGE:C,CXX>:-Wall;-Wextra;-Wno-unused-parameter;-Wno-missing-field-initializers>")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # Cries wolf on std::vector and StatusOr at -O3.
  add_compile_options(
    "$<$<COMPILE_LANGUAGE:C,CXX>:-Wno-stringop-overflow;-Wno-array-bounds;-Wno-maybe-uninitialized;-Wno-restrict>")
endif()
include_directories(${CMAKE_SOURCE_DIR})

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

if(SLIMFILL_SANITIZE)
  add_compile_options(-fsanitize=${SLIMFILL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SLIMFILL_SANITIZE})
  add_compile_definitions(SLIMFILL_SANITIZED=1)
endif()

if(SLIMFILL_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "SLIMFILL_FUZZ needs clang: configure with -DCMAKE_CXX_COMPILER=clang++-16")
  endif()
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
