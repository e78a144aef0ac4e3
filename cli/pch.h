// Precompiled: the gRPC headers are most of the compile time.
#pragma once

#include "grpcpp/grpcpp.h"
#include "nlohmann/json.hpp"
#include "slimfill/v1/inference.grpc.pb.h"
