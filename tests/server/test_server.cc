#include "tests/server/test_server.h"

#include <vector>

#include "engine/model/gguf.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "tests/support/tiny_model.h"

namespace slimfill::testing {
namespace {

// The fake engine with a tiny model's tokenizer and chat template.
class EngineWithText final : public engine::Engine {
 public:
  EngineWithText(FakeClock& clock, const TestServerOptions& options)
      : bytes_(MakeTinyModelGguf()),
        file_(*engine::GgufFile::Parse(bytes_, "tiny")),
        tokenizer_(*engine::Tokenizer::FromGguf(*file_)),
        template_(*engine::ChatTemplate::FromGguf(*file_, *tokenizer_)),
        with_chat_template_(options.with_chat_template),
        fake_(clock, options.engine, tokenizer_.get()) {}

  test::FakeEngine& fake() { return fake_; }

  const engine::EngineInfo& info() const override { return fake_.info(); }
  const engine::Tokenizer& tokenizer() const override { return *tokenizer_; }
  const engine::ChatTemplate* chat_template() const override { return with_chat_template_ ? &template_ : nullptr; }
  absl::Status Validate(const engine::SequenceRequest& request) const override { return fake_.Validate(request); }
  engine::PrefillWork EstimateWork(int64_t prompt_tokens, engine::PruningMode mode) const override {
    return fake_.EstimateWork(prompt_tokens, mode);
  }
  int64_t PagesNeeded(const engine::SequenceRequest& request) const override { return fake_.PagesNeeded(request); }
  int64_t pages_total() const override { return fake_.pages_total(); }
  int64_t pages_used() const override { return fake_.pages_used(); }
  absl::StatusOr<std::unique_ptr<engine::Sequence>> Start(engine::SequenceRequest request) override {
    return fake_.Start(std::move(request));
  }
  absl::StatusOr<engine::PrefillStep> PrefillChunk(engine::Sequence& sequence) override {
    return fake_.PrefillChunk(sequence);
  }
  std::vector<absl::StatusOr<engine::TokenEvent>> DecodeStep(absl::Span<engine::Sequence* const> sequences) override {
    return fake_.DecodeStep(sequences);
  }
  bool RunIdleChunk() override { return fake_.RunIdleChunk(); }

 private:
  const std::vector<std::byte> bytes_;
  std::unique_ptr<engine::GgufFile> file_;
  std::unique_ptr<engine::Tokenizer> tokenizer_;
  engine::ChatTemplate template_;
  const bool with_chat_template_;
  test::FakeEngine fake_;
};

}  // namespace

std::unique_ptr<engine::Engine> MakeTestEngine(FakeClock& clock, const TestServerOptions& options) {
  return std::make_unique<EngineWithText>(clock, options);
}

TestServer::TestServer(TestServerOptions options) {
  auto engine = std::make_unique<EngineWithText>(clock_, options);
  engine_ = &engine->fake();
  tokenizer_ = &engine->tokenizer();
  engine_->OnCall([this] { gate_.Pass(); });
  server::ServerConfig config;
  config.listen = "127.0.0.1:0";
  config.metrics_listen = "off";  // its HTTP library takes two seconds to stop
  config.randomized_dense_share = 0;
  options.configure(config);
  absl::StatusOr<std::unique_ptr<server::App>> app = server::App::Start(config, std::move(engine), metrics_, clock_);
  if (!app.ok()) std::fprintf(stderr, "%s\n", app.status().ToString().c_str());
  SLIMFILL_CHECK(app.ok());
  app_ = *std::move(app);
  channel_ = grpc::CreateChannel(app_->address(), grpc::InsecureChannelCredentials());
  stub_ = v1::InferenceService::NewStub(channel_);
}

TestServer::~TestServer() { gate_.Open(); }

}  // namespace slimfill::testing
