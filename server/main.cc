#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <string>
#include <vector>

#include "base/logging.h"
#include "base/runtime.h"
#include "server/app.h"
#include "server/build_engine.h"
#include "server/signals.h"

namespace {

using namespace slimfill;  // NOLINT: the program's own

int Fail(int code, const absl::Status& status) {
  std::fprintf(stderr, "slimfill-server: %s\n", std::string(status.message()).c_str());
  return code;
}

int Serve(const server::LoadedConfig& loaded) {
  server::StopSignals signals;  // before any thread is started
  if (absl::Status status = InitLogging("slimfill-server", loaded.config.log_level); !status.ok()) {
    return Fail(2, status);
  }
  spdlog::info("starting version={} {}", server::kVersion, loaded.effective);
  SystemClock clock;
  Metrics metrics;
  absl::StatusOr<server::BuiltEngine> built = server::BuildEngine(loaded.config, metrics, clock);
  if (!built.ok()) return Fail(1, built.status());
  std::atomic<bool> broken = false;
  auto app = server::App::Start(loaded.config, std::move(built->engine), metrics, clock, [&broken] {
    broken = true;
    kill(getpid(), SIGTERM);  // ends the wait below
  });
  if (!app.ok()) return Fail(1, app.status());
  spdlog::info("stopping signal={}", signals.Wait());
  (*app)->Stop(broken ? absl::ZeroDuration() : loaded.config.drain_timeout);
  return broken ? 1 : 0;  // a supervisor starts us again
}

}  // namespace

int main(int argc, char** argv) {
  SetUpRuntime();
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto loaded = server::LoadConfig(arguments, server::ReadEnvironment());
  if (!loaded.ok()) return Fail(2, loaded.status());
  if (loaded->show_help) return std::fputs(server::HelpText().c_str(), stdout) < 0;
  if (loaded->show_version) return std::printf("slimfill-server %s\n", server::kVersion) < 0;
  return Serve(*loaded);
}
