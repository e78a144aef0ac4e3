// The commands that only look: status and tokenize.
#include <unistd.h>

#include <cstdio>

#include "absl/strings/str_format.h"
#include "cli/commands.h"
#include "cli/document.h"

namespace slimfill::cli {
namespace {

nlohmann::json StatusJson(const v1::GetModelResponse& model, const v1::GetServerStatusResponse& status) {
  return {
      {"version", status.version()},
      {"serving", status.state() == v1::SERVER_STATE_SERVING},
      {"uptime_seconds", status.uptime_seconds()},
      {"requests_waiting", status.requests_waiting()},
      {"requests_running", status.requests_running()},
      {"requests_finished", status.requests_finished()},
      {"queued_prompt_tokens", status.queued_prompt_tokens()},
      {"kv_pages_used", status.kv_pages_used()},
      {"kv_pages_total", status.kv_pages_total()},
      {"kv_store", status.kv_store()},
      {"model",
       {{"name", model.name()},
        {"file", model.file()},
        {"sha256", model.sha256()},
        {"architecture", model.architecture()},
        {"layers", model.layers()},
        {"trained_context", model.trained_context()},
        {"max_context", model.max_context()},
        {"chat_format", model.chat_format()},
        {"backend", model.backend()},
        {"plan", model.plan_name()}}},
  };
}

std::string StatusText(const v1::GetModelResponse& model, const v1::GetServerStatusResponse& status) {
  std::string text =
      absl::StrFormat("server    slimfill %s, %s for %.0f s\n", status.version(),
                      status.state() == v1::SERVER_STATE_DRAINING ? "draining" : "serving", status.uptime_seconds());
  absl::StrAppendFormat(&text, "model     %s (%s, %s, %d layers)\n", model.name(), model.file(), model.architecture(),
                        model.layers());
  absl::StrAppendFormat(&text, "context   %d tokens, trained for %d; chat format %s\n", model.max_context(),
                        model.trained_context(), model.chat_format().empty() ? "none" : model.chat_format());
  absl::StrAppendFormat(&text, "backend   %s: %s\n", model.backend(), model.backend_description());
  absl::StrAppendFormat(&text, "pruning   %s\n",
                        model.plan_name().empty() ? "no plan: prompts run dense" : "plan " + model.plan_name());
  absl::StrAppendFormat(&text, "requests  %d running of %d, %d waiting of %d (%d prompt tokens), %d finished\n",
                        status.requests_running(), status.max_running(), status.requests_waiting(),
                        status.max_waiting(), status.queued_prompt_tokens(), status.requests_finished());
  absl::StrAppendFormat(&text, "kv cache  %d of %d pages; store %s\n", status.kv_pages_used(), status.kv_pages_total(),
                        status.kv_store());
  return text;
}

}  // namespace

int ShowStatus(Client& client, bool json) {
  v1::GetModelResponse model;
  v1::GetServerStatusResponse server;
  grpc::Status status = client.stub().GetModel(client.NewContext().get(), v1::GetModelRequest(), &model);
  if (status.ok()) {
    status = client.stub().GetServerStatus(client.NewContext().get(), v1::GetServerStatusRequest(), &server);
  }
  if (!status.ok()) return Report(Explain(status, client.connection()), json);
  std::printf("%s", json ? (StatusJson(model, server).dump() + "\n").c_str() : StatusText(model, server).c_str());
  return kOk;
}

int Tokenize(Client& client, const TokenizeOptions& options) {
  v1::TokenizeRequest request;
  std::vector<std::string> files = options.files;
  if (files.empty() && options.text.empty()) files.push_back("-");
  request.set_text(BuildPrompt(ReadDocuments(files), options.text, /*question_first=*/false));
  request.set_count_only(!options.json);
  v1::TokenizeResponse response;
  const grpc::Status status = client.stub().Tokenize(client.NewContext().get(), request, &response);
  if (!status.ok()) return Report(Explain(status, client.connection()), options.json);
  if (options.json) {
    const std::vector<int32_t> ids(response.ids().begin(), response.ids().end());
    std::printf("%s\n", nlohmann::json{{"count", response.count()}, {"ids", ids}}.dump().c_str());
  } else {
    std::printf("%lld\n", static_cast<long long>(response.count()));
  }
  return kOk;
}

}  // namespace slimfill::cli
