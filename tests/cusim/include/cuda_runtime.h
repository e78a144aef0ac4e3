// The CUDA runtime, emulated on the CPU: spelled like the real header, so that .cu files and host code need no change.
// tests/cusim/README.md says what is modelled and what is not.
#pragma once

#include "cusim/collectives.h"
#include "cusim/host_api.h"
#include "cusim/intrinsics.h"
#include "cusim/lane.h"
#include "cusim/launch.h"
#include "cusim/qualifiers.h"
#include "cusim/vector_types.h"
