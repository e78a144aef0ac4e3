#include "engine/ops/backend_factory.h"

#include "absl/strings/str_cat.h"
#include "engine/ops/ref/ref_backend.h"

namespace slimfill::engine {

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(absl::string_view name, const BackendOptions& options) {
  if (name == "ref") return std::make_unique<RefBackend>();
  if (name == "cpu") return absl::UnimplementedError("backend cpu is not built in: use ref");
  if (name == "cuda") return absl::UnimplementedError("backend cuda is not built in: use cpu or ref");
  return absl::InvalidArgumentError(absl::StrCat("unknown backend '", name, "': use cpu, ref or cuda"));
}

std::vector<std::string> AvailableBackends() { return {"ref"}; }

}  // namespace slimfill::engine
