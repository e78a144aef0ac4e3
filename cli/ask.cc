#include <unistd.h>

#include <cstdio>
#include <optional>
#include <stdexcept>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cli/commands.h"
#include "cli/document.h"
#include "cli/heatmap.h"
#include "cli/heatmap_file.h"
#include "cli/progress.h"
#include "cli/summary.h"

namespace slimfill::cli {
namespace {

v1::PruningParams ParsePruning(const std::string& text) {
  v1::PruningParams pruning;
  if (text == "auto") {
    pruning.set_mode(v1::PRUNING_MODE_AUTO);
    return pruning;
  }
  if (text == "off") {
    pruning.set_mode(v1::PRUNING_MODE_OFF);
    return pruning;
  }
  absl::string_view ratios = text;
  pruning.set_mode(v1::PRUNING_MODE_CUSTOM);
  bool good = absl::ConsumePrefix(&ratios, "keep=");
  for (absl::string_view piece : absl::StrSplit(ratios, ',')) {
    float ratio = 0;
    good = good && absl::SimpleAtof(piece, &ratio);
    pruning.add_keep_ratio(ratio);
  }
  if (!good) throw std::runtime_error("--pruning '" + text + "': use auto, off or keep=RATIO such as keep=0.25");
  return pruning;
}

v1::GenerateRequest BuildRequest(const AskOptions& options) {
  std::vector<std::string> files = options.files;
  if (files.empty() && isatty(STDIN_FILENO) == 0) files.push_back("-");
  std::vector<Document> documents = ReadDocuments(files);
  std::erase_if(documents, [](const Document& document) { return document.text.empty(); });

  v1::GenerateRequest request;
  if (!options.system.empty()) {
    v1::ChatMessage& message = *request.mutable_chat()->add_messages();
    message.set_role("system");
    message.set_content(options.system);
  }
  v1::ChatMessage& message = *request.mutable_chat()->add_messages();
  message.set_role("user");
  message.set_content(BuildPrompt(documents, options.question, options.question_first));
  v1::SamplingParams& sampling = *request.mutable_sampling();
  sampling.set_max_tokens(options.max_tokens);
  if (options.temperature.has_value()) sampling.set_temperature(*options.temperature);
  if (options.top_p.has_value()) sampling.set_top_p(*options.top_p);
  if (options.seed.has_value()) sampling.set_seed(*options.seed);
  *request.mutable_pruning() = ParsePruning(options.pruning);
  request.set_no_store(options.no_store);
  request.set_include_prune_trace(!options.heatmap.empty());
  return request;
}

// The answer as it comes in.
class Answer {
 public:
  explicit Answer(bool json) : json_(json), progress_(stderr, !json && isatty(STDERR_FILENO) != 0) {}

  void Handle(const v1::GenerateResponse& event) {
    switch (event.event_case()) {
      case v1::GenerateResponse::kAdmitted:
        if (!json_) progress_.Show(event.admitted());
        break;
      case v1::GenerateResponse::kProgress:
        if (!json_) progress_.Show(event.progress());
        break;
      case v1::GenerateResponse::kToken:
        AddText(event.token().text());
        break;
      case v1::GenerateResponse::kFinished:
        finished_ = event.finished();
        break;
      case v1::GenerateResponse::EVENT_NOT_SET:  // an event of a newer server
        break;
    }
  }

  // After the last event.
  void Print() {
    progress_.Clear();
    if (json_) {
      std::printf("%s\n", SummaryJson(text_, finished_).dump().c_str());
    } else {
      EndLine();
      std::fputs(("\n" + SummaryText(finished_)).c_str(), stderr);
    }
  }

  const std::string& text() const { return text_; }
  const v1::Finished& finished() const { return finished_; }

  // An answer that broke off must not look like a whole one.
  void BreakOff() {
    progress_.Clear();
    if (!json_ && !text_.empty()) EndLine();
  }

 private:
  void AddText(const std::string& text) {
    progress_.Clear();
    text_ += text;
    if (json_) return;
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
  }
  void EndLine() const {
    if (text_.empty() || text_.back() != '\n') std::fputs("\n", stdout);
    std::fflush(stdout);
  }

  const bool json_;
  ProgressBar progress_;
  std::string text_;
  v1::Finished finished_;
};

// After the answer, which must not wait for it: the tokens' text and the model's name come from calls of their own.
int WriteHeatMap(Client& client, const AskOptions& options, const v1::Chat& chat, const Answer& answer,
                 HeatMapFile& file) {
  HeatMap map{options.question, answer.text(), options.pruning, {}, {}, answer.finished()};
  v1::TokenizeRequest tokenize;
  *tokenize.mutable_chat() = chat;
  tokenize.set_include_bytes(true);
  grpc::Status status = client.stub().Tokenize(client.NewContext().get(), tokenize, &map.tokens);
  if (status.ok()) {
    status = client.stub().GetModel(client.NewContext().get(), v1::GetModelRequest(), &map.model);
  }
  const int64_t prompt_tokens = map.finished.usage().prompt_tokens();
  if (status.ok() && map.tokens.token_bytes_size() != prompt_tokens) {
    status = {grpc::StatusCode::UNIMPLEMENTED,
              absl::StrCat("no heat map: the server gives the text of ", map.tokens.token_bytes_size(),
                           " tokens, the prompt has ", prompt_tokens)};
  }
  if (!status.ok()) return Report(Explain(status, client.connection()), /*json=*/false);  // stdout has the answer
  try {
    file.Write(HeatMapPage(HeatMapData(map)));
  } catch (const std::runtime_error& error) {
    return Report({"OTHER", error.what(), "", "", kOtherError}, /*json=*/false);
  }
  if (!options.json) std::fprintf(stderr, "heat map  %s\n", file.path().c_str());
  return kOk;
}

}  // namespace

int Ask(Client& client, const AskOptions& options) {
  const v1::GenerateRequest request = BuildRequest(options);
  std::optional<HeatMapFile> heatmap;
  if (!options.heatmap.empty()) heatmap.emplace(options.heatmap, options.files);
  const auto context = client.NewContext();
  const auto stream = client.stub().Generate(context.get(), request);
  Answer answer(options.json);
  v1::GenerateResponse event;
  while (stream->Read(&event)) answer.Handle(event);
  const grpc::Status status = stream->Finish();
  if (!status.ok()) {
    answer.BreakOff();
    return Report(Explain(status, client.connection()), options.json);
  }
  answer.Print();
  return heatmap.has_value() ? WriteHeatMap(client, options, request.chat(), answer, *heatmap) : kOk;
}

}  // namespace slimfill::cli
