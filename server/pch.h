// Precompiled for the targets that use gRPC: its headers are most of their compile time.
#pragma once

#include "grpcpp/grpcpp.h"
#include "grpcpp/support/server_callback.h"
#include "slimfill/v1/inference.grpc.pb.h"
