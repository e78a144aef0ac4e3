#include "engine/pruned_engine.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <limits>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/metric_names.h"
#include "base/status.h"
#include "engine/decode.h"
#include "engine/densifier.h"
#include "engine/prefill.h"

namespace slimfill::engine {
namespace {

constexpr int64_t kMaxContextLimit = 1 << 20;
// Until a chunk has been timed. A stored prefix is worth half of what recomputing it would take.
constexpr double kInitialSecondsPerFlop = 1e-11;

absl::StatusOr<std::unique_ptr<PrunePlan>> LoadPlan(const std::string& choice, const ModelConfig& config) {
  if (choice == "off") return nullptr;
  if (choice == "fast" || choice == "safe") {
    const PlanVariant variant = choice == "safe" ? PlanVariant::kSafe : PlanVariant::kFast;
    auto plan = std::make_unique<PrunePlan>(BuiltinPlan(config, variant));
    if (plan->stages.empty()) return nullptr;  // a model of very few layers
    SLIMFILL_RETURN_IF_ERROR(CheckPlan(*plan, config));
    return plan;
  }
  std::ifstream file(choice, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat("cannot read the plan file '", choice, "': give --plan fast, safe, off, or a readable file"));
  }
  std::stringstream text;
  text << file.rdbuf();
  absl::StatusOr<PrunePlan> plan = ParsePlan(text.str(), config);
  if (!plan.ok()) return absl::InvalidArgumentError(absl::StrCat(choice, ": ", plan.status().message()));
  return std::make_unique<PrunePlan>(*std::move(plan));
}

// The most that the model attends to.
int OwnContext(const ModelConfig& config) {
  return config.sliding_window > 0 ? std::min(config.context, config.sliding_window) : config.context;
}

class PrunedEngine final : public StudyEngine {
 public:
  static absl::StatusOr<std::unique_ptr<StudyEngine>> Make(const PrunedEngineOptions& options,
                                                           std::unique_ptr<Backend> backend, kvstore::KvStore& store,
                                                           Metrics& metrics);

  const EngineInfo& info() const override { return info_; }
  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  const ChatTemplate* chat_template() const override { return chat_template_.get(); }
  absl::Status Validate(const SequenceRequest& request) const override;
  PrefillWork EstimateWork(int64_t prompt_tokens, PruningMode mode) const override;
  int64_t PagesNeeded(const SequenceRequest& request) const override;
  int64_t pages_total() const override { return pool_->pages_total(); }
  absl::Status Health() const override { return backend_->Health(); }
  int64_t pages_used() const override { return pool_->pages_used(); }
  absl::StatusOr<std::unique_ptr<Sequence>> Start(SequenceRequest request) override;
  absl::StatusOr<PrefillStep> PrefillChunk(Sequence& sequence) override;
  absl::StatusOr<HeadStudy> StudyHeads(SequenceRequest request, int layers, int link_layers) override;
  absl::Status Restart(Sequence& sequence, const SamplingParams& sampling) override;
  std::vector<absl::StatusOr<TokenEvent>> DecodeStep(absl::Span<Sequence* const> sequences) override;
  bool RunIdleChunk() override { return densifier_ != nullptr && densifier_->RunChunk(); }

 private:
  PrunedEngine(Metrics& metrics) : metrics_(metrics) {}
  absl::Status ValidatePruning(const SequenceRequest& request) const;
  absl::Status MakeParts(kvstore::KvStore& store, const PrunedEngineOptions& options);
  // Reserves pages and begins prefill, of a valid request.
  absl::StatusOr<std::unique_ptr<PrunedSequence>> StartSequence(SequenceRequest request, absl::Duration load_budget);
  void FinishReport(PrunedSequence& sequence) const;
  void NoteConversation(PrunedSequence& ended);

  // Constant after Make, in the order of their dependence.
  Metrics& metrics_;
  absl::Duration store_wait_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> chat_template_;
  std::unique_ptr<PrunePlan> plan_;
  EngineInfo info_;
  std::unique_ptr<Forward> forward_;
  std::unique_ptr<PagePool> pool_;
  std::unique_ptr<KvStreamer> streamer_;
  std::unique_ptr<PrefixCache> prefix_cache_;
  std::unique_ptr<Prefill> prefill_;
  std::unique_ptr<Decode> decode_;
  std::unique_ptr<Densifier> densifier_;  // null: nothing is made hot

  // Engine thread.
  double seconds_per_flop_ = kInitialSecondsPerFlop;
  std::vector<float> logits_;
};

absl::StatusOr<std::unique_ptr<StudyEngine>> PrunedEngine::Make(const PrunedEngineOptions& options,
                                                                std::unique_ptr<Backend> backend,
                                                                kvstore::KvStore& store, Metrics& metrics) {
  if (options.chunk_tokens < kBlockTokens || options.chunk_tokens % kBlockTokens != 0 ||
      options.chunk_tokens > (1 << 16)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--chunk-tokens is ", options.chunk_tokens, ": must be a multiple of 64 between 64 and 65536"));
  }
  if (options.max_context < 0 || options.max_context > kMaxContextLimit) {
    return absl::InvalidArgumentError(absl::StrCat("--max-context is ", options.max_context, ": must be between 1 and ",
                                                   kMaxContextLimit, ", or 0 for the model's own"));
  }
  std::unique_ptr<PrunedEngine> engine(new PrunedEngine(metrics));
  engine->backend_ = std::move(backend);
  Backend& device = *engine->backend_;
  SLIMFILL_ASSIGN_OR_RETURN(std::unique_ptr<ModelSource> source, OpenModel(options.model_path));
  const ModelConfig config = source->config();
  EngineInfo& info = engine->info_;
  info.max_context = options.max_context > 0 ? options.max_context : OwnContext(config);
  info.chunk_tokens = options.chunk_tokens;
  SLIMFILL_ASSIGN_OR_RETURN(engine->plan_, LoadPlan(options.plan, config));
  SLIMFILL_ASSIGN_OR_RETURN(engine->tokenizer_, source->MakeTokenizer());
  if (auto chat = source->MakeChatTemplate(*engine->tokenizer_); chat.ok()) {
    engine->chat_template_ = std::make_unique<ChatTemplate>(*std::move(chat));
    info.chat_format = engine->chat_template_->name();
  }
  const auto progress = [&](int done, int total) {
    if (options.load_progress) options.load_progress(static_cast<double>(done) / total);
  };
  SLIMFILL_ASSIGN_OR_RETURN(engine->model_, Model::Load(std::move(source), device, info.max_context, progress));
  if (options.prefix_layers < 0 || options.prefix_layers >= config.layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("prefix_layers is ", options.prefix_layers, ": must be between 0 and ", config.layers - 1));
  }
  info.model = config;
  info.model_file = engine->model_->source().path();
  info.model_sha256 = engine->model_->source().Sha256Hex();
  info.backend = device.description();
  info.backend_name = device.name();
  info.arithmetic = device.arithmetic();
  if (engine->plan_ != nullptr) {
    info.plan_name = engine->plan_->name;
    info.plan_json = PlanToJson(*engine->plan_);
  }
  const int64_t max_rows = std::max<int64_t>(options.chunk_tokens, options.max_decode_batch);
  SLIMFILL_ASSIGN_OR_RETURN(engine->forward_, Forward::Create(*engine->model_, device, max_rows));
  SLIMFILL_RETURN_IF_ERROR(engine->MakeParts(store, options));
  return engine;
}

absl::Status PrunedEngine::MakeParts(kvstore::KvStore& store, const PrunedEngineOptions& options) {
  store_wait_ = options.store_wait;
  const int64_t page_bytes = backend_->KvPageBytes(model_->shape());
  pool_ = std::make_unique<PagePool>(*backend_, metrics_, page_bytes, options.kv_pages_bytes / page_bytes);
  if (backend_->FreeBytes() < std::numeric_limits<int64_t>::max()) SLIMFILL_RETURN_IF_ERROR(pool_->Preallocate());
  streamer_ = std::make_unique<KvStreamer>(store, metrics_, StreamerOptions{.fetch_deadline = options.swap_wait});
  const int planned_layers = plan_ == nullptr ? 0 : plan_->stages.front().prune_layer + 1;
  const int prefix_layers = options.prefix_layers > 0 ? options.prefix_layers : planned_layers;
  if (prefix_layers > 0) {
    PrefixBlockLayout layout{prefix_layers, model_->config().layers, page_bytes, model_->config().hidden};
    std::string links;
    for (const LayerHead& head : LinkHeads(plan_.get())) {
      if (head.layer >= prefix_layers) {
        return absl::InvalidArgumentError(
            absl::StrCat("prefix_layers is ", prefix_layers, ": the plan's links need ", head.layer + 1, " or more"));
      }
      absl::StrAppend(&links, "; link ", head.layer, ",", head.head);
      ++layout.link_heads;
    }
    const std::string identity =
        absl::StrCat("slimfill prefix block 1; model ", info_.model_sha256, "; kv ", backend_->kv_layout(), "; linear ",
                     backend_->arithmetic(), "; stage-1 layers ", layout.layers, "; residual f32", links);
    prefix_cache_ = std::make_unique<PrefixCache>(store, *streamer_, *backend_, metrics_, layout, identity);
  }
  prefill_ = std::make_unique<Prefill>(Prefill::Parts{*model_, *backend_, *forward_, plan_.get(), prefix_cache_.get(),
                                                      *streamer_, *tokenizer_, info_.chunk_tokens, info_.max_context,
                                                      options.hot_prefixes, options.store_wait});
  decode_ = std::make_unique<Decode>(
      Decode::Parts{*model_, *backend_, *forward_, metrics_, info_.max_context, options.swap_wait});
  if (prefix_cache_ != nullptr && options.hot_prefixes) {
    const auto start = [this](SequenceRequest request, absl::Duration load_budget) {
      return StartSequence(std::move(request), load_budget);
    };
    densifier_ = std::make_unique<Densifier>(
        Densifier::Parts{start, *prefill_, *prefix_cache_, store, metrics_, info_.max_context},
        Densifier::Options{.min_value = options.densify_min_value, .store_wait = options.store_wait});
  }
  return absl::OkStatus();
}

absl::Status PrunedEngine::Validate(const SequenceRequest& request) const {
  const int64_t n = static_cast<int64_t>(request.prompt.size());
  if (n == 0) return absl::InvalidArgumentError("prompt is empty: give at least one token of text");
  if (n >= info_.max_context) {
    return absl::InvalidArgumentError(absl::StrCat("prompt has ", n, " tokens, the model's context is ",
                                                   info_.max_context,
                                                   " and must hold at least one more for the answer: shorten it or "
                                                   "start the server with --max-context"));
  }
  for (const TokenId token : request.prompt) {
    if (token < 0 || token >= model_->config().vocab) {
      return absl::InvalidArgumentError(
          absl::StrCat("prompt token id ", token, " is not in [0, ", model_->config().vocab, ")"));
    }
  }
  SLIMFILL_RETURN_IF_ERROR(engine::Validate(request.sampling, model_->config().vocab));
  return ValidatePruning(request);
}

absl::Status PrunedEngine::ValidatePruning(const SequenceRequest& request) const {
  const PruningRequest& pruning = request.pruning;
  const PrunePlan* plan = pruning.plan != nullptr ? pruning.plan.get() : plan_.get();
  if (pruning.plan != nullptr) SLIMFILL_RETURN_IF_ERROR(CheckPlan(*pruning.plan, model_->config()));
  if (pruning.mode == PruningMode::kCustom) {
    const size_t stages = plan == nullptr ? 0 : plan->stages.size();
    if (stages == 0) {
      return absl::InvalidArgumentError("pruning mode CUSTOM needs a plan: start the server without --plan off");
    }
    if (pruning.keep_ratio.size() != 1 && pruning.keep_ratio.size() != stages) {
      return absl::InvalidArgumentError(absl::StrCat("pruning keep_ratio has ", pruning.keep_ratio.size(),
                                                     " entries: give 1, or one for each of the plan's ", stages,
                                                     " stages"));
    }
    float before = 1;
    for (const float ratio : pruning.keep_ratio) {
      if (!(ratio > 0 && ratio <= before)) {
        return absl::InvalidArgumentError(
            absl::StrCat("pruning keep_ratio ", ratio, " must be in (0, 1] and not above the one before it"));
      }
      before = ratio;
    }
  }
  const int64_t n = static_cast<int64_t>(request.prompt.size());
  for (const auto& span : {pruning.query_span, request.last_user_content}) {
    if (span.has_value() && !(0 <= span->first && span->first <= span->second && span->second <= n)) {
      return absl::InvalidArgumentError(absl::StrCat("pruning query_span [", span->first, ", ", span->second,
                                                     ") is not within the prompt's ", n, " tokens"));
    }
  }
  return absl::OkStatus();
}

PrefillWork PrunedEngine::EstimateWork(int64_t prompt_tokens, PruningMode mode) const {
  const ModelConfig& config = model_->config();
  std::vector<Stage> stages = DenseStages(-1, config.layers);
  if (plan_ != nullptr && mode != PruningMode::kOff) {
    // Forced blocks as for a short question at the prompt's end.
    const QuestionSegment question{{std::max<int64_t>(0, prompt_tokens - kBlockTokens), prompt_tokens}, false};
    const std::vector<int32_t> forced = ForcedBlocks(*plan_, prompt_tokens, question);
    std::vector<int64_t> keep_blocks;
    for (const PlanStage& stage : plan_->stages) {
      keep_blocks.push_back(BlocksToKeep(*plan_, stage, 0, prompt_tokens, forced));
    }
    stages = PrunedStages(*plan_, keep_blocks, config.layers);
  }
  return StagesWork(stages, config, prompt_tokens, info_.chunk_tokens, 0);
}

// A request may fall back to dense, so it is admitted as if it were.
int64_t PrunedEngine::PagesNeeded(const SequenceRequest& request) const {
  int64_t behind = request.sampling.max_tokens;
  if (behind < kMaxProbeTokens && request.pruning.mode != PruningMode::kOff) {
    const QuestionSegment question =
        FindQuestion(request.prompt, request.pruning.query_span, request.last_user_content, *tokenizer_);
    const auto probe = ProbeTokens(request.prompt, question, request.last_user_content);
    behind = std::max(behind, static_cast<int64_t>(probe.size()));
  }
  const int64_t tokens = std::min<int64_t>(static_cast<int64_t>(request.prompt.size()) + behind, info_.max_context);
  return BlockCount(tokens) * model_->config().layers;
}

absl::StatusOr<std::unique_ptr<Sequence>> PrunedEngine::Start(SequenceRequest request) {
  SLIMFILL_RETURN_IF_ERROR(Validate(request));
  const int64_t free_pages = pool_->pages_total() - pool_->pages_reserved();
  if (densifier_ != nullptr && PagesNeeded(request) > free_pages) densifier_->Pause();
  const int64_t tokens = static_cast<int64_t>(request.prompt.size());
  const double recompute = seconds_per_flop_ * Flops(EstimateWork(tokens, PruningMode::kAuto), model_->config());
  return StartSequence(std::move(request), std::max(store_wait_, absl::Seconds(recompute / 2)));
}

absl::StatusOr<std::unique_ptr<PrunedSequence>> PrunedEngine::StartSequence(SequenceRequest request,
                                                                            absl::Duration load_budget) {
  SLIMFILL_ASSIGN_OR_RETURN(PageReservation reservation, pool_->Reserve(PagesNeeded(request)));
  auto sequence = std::make_unique<PrunedSequence>(std::move(request), model_->config().layers, *pool_, *tokenizer_,
                                                   model_->config().vocab);
  sequence->reservation = std::move(reservation);
  SLIMFILL_RETURN_IF_ERROR(prefill_->Begin(*sequence, load_budget));
  return sequence;
}

absl::StatusOr<PrefillStep> PrunedEngine::PrefillChunk(Sequence& opaque) {
  auto& sequence = static_cast<PrunedSequence&>(opaque);
  PrefillStep step;
  step.stage = static_cast<int>(sequence.stage);
  const double flops_before = sequence.work_done_flops;
  const auto begin = std::chrono::steady_clock::now();
  SLIMFILL_ASSIGN_OR_RETURN(step.done, prefill_->RunChunk(sequence, step.work, logits_));
  step.compute_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  step.stages = static_cast<int>(sequence.stages.size());
  step.fraction_done = std::clamp(sequence.work_done_flops / sequence.work_total_flops, 0.0, 1.0);
  if (const double flops = sequence.work_done_flops - flops_before; flops > 0) {
    seconds_per_flop_ = 0.8 * seconds_per_flop_ + 0.2 * step.compute_seconds / flops;
  }
  if (step.done) {
    step.fraction_done = 1;
    if (densifier_ != nullptr && !sequence.request.no_store) {
      sequence.on_end = [this](PrunedSequence& ended) { NoteConversation(ended); };
    }
    FinishReport(sequence);
    SLIMFILL_ASSIGN_OR_RETURN(step.first_token, decode_->Sample(sequence, absl::MakeSpan(logits_)));
  }
  return step;
}

void PrunedEngine::NoteConversation(PrunedSequence& ended) {
  std::vector<TokenId> tokens = ended.request.prompt;
  tokens.insert(tokens.end(), ended.generated.begin(), ended.generated.end());
  densifier_->Note(std::move(tokens), ended.request.tenant_salt);
}

void PrunedEngine::FinishReport(PrunedSequence& sequence) const {
  PrefillReport& report = sequence.report;
  report.hot = sequence.hot_rows > 0;
  if (report.hot) {
    report.served_by = "hot";
  } else {
    report.served_by = !report.pruned ? "dense" : report.cached_tokens > 0 ? "warm" : "cold";
  }
  int64_t pages = 0;
  for (const LayerKv& layer : sequence.kv) pages += layer.pages();
  report.kv_bytes = pages * pool_->page_bytes();
  report.dense_kv_bytes = BlockCount(sequence.prompt_tokens) * model_->config().layers * pool_->page_bytes();
}

absl::StatusOr<HeadStudy> PrunedEngine::StudyHeads(SequenceRequest request, int layers, int link_layers) {
  const ModelConfig& config = model_->config();
  if (layers <= 0 || layers >= config.layers) {
    return absl::InvalidArgumentError(absl::StrCat("layers is ", layers, ", must be in [1, ", config.layers - 1, "]"));
  }
  if (link_layers < 0 || link_layers > layers) {
    return absl::InvalidArgumentError(absl::StrCat("link_layers is ", link_layers, ", must be in [0, ", layers, "]"));
  }
  request.pruning.mode = PruningMode::kOff;
  request.no_store = true;  // what is stored stops at stage 1
  SLIMFILL_ASSIGN_OR_RETURN(const std::unique_ptr<Sequence> opaque, Start(std::move(request)));
  auto& sequence = static_cast<PrunedSequence&>(*opaque);
  if (sequence.question.before_document) {
    return absl::InvalidArgumentError("the question stands before its document: ask after it");
  }
  sequence.stages = DenseStages(layers - 1, config.layers);
  std::vector<LayerHead> link_heads;
  for (int layer = 0; layer < link_layers; ++layer) {
    for (int head = 0; head < config.heads; ++head) link_heads.push_back({layer, head});
  }
  sequence.links = PromptLinks(link_heads, sequence.prompt_tokens);
  PrefillWork work;
  while (sequence.stage == 0) SLIMFILL_RETURN_IF_ERROR(prefill_->RunChunk(sequence, work, logits_).status());

  const PrunePlan defaults;
  const PrunePlan& plan = sequence.plan == nullptr ? defaults : *sequence.plan;
  HeadStudy study{.layers = layers,
                  .heads = config.heads,
                  .link_layers = link_layers,
                  .blocks = static_cast<int64_t>(sequence.blocks.size()),
                  .forced = ForcedBlocks(plan, sequence.prompt_tokens, sequence.question)};
  study.units = BlockScorer(*model_, *backend_, plan)
                    .AllHeadMasses(sequence.kv, layers, sequence.prompt_tokens, sequence.question, *sequence.window);
  for (size_t i = 0; i < link_heads.size(); ++i) {
    const std::vector<FarLook> looks = sequence.links.BestLooks(i, HeadStudy::kLinksPerUnit);
    study.looks.insert(study.looks.end(), looks.begin(), looks.end());
  }
  return study;
}

absl::Status PrunedEngine::Restart(Sequence& opaque, const SamplingParams& sampling) {
  auto& sequence = static_cast<PrunedSequence&>(opaque);
  SLIMFILL_RETURN_IF_ERROR(engine::Validate(sampling, model_->config().vocab));
  const int32_t reserved = sequence.request.sampling.max_tokens;
  if (sampling.max_tokens > reserved) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens is ", sampling.max_tokens, ", the request reserved ", reserved));
  }
  sequence.sampling = sampling;
  sequence.sampler.emplace(sampling, sequence.request.prompt, model_->config().vocab);
  sequence.output.emplace(*tokenizer_, sampling);
  sequence.generated.clear();
  // The prompt's last token runs once more: its keys and values are written again as they were, its logits come anew.
  sequence.last_token = sequence.request.prompt.back();
  sequence.position = sequence.prompt_tokens - 1;
  return absl::OkStatus();
}

std::vector<absl::StatusOr<TokenEvent>> PrunedEngine::DecodeStep(absl::Span<Sequence* const> sequences) {
  std::vector<absl::StatusOr<TokenEvent>> results;
  const size_t batch = forward_->max_rows();
  for (size_t first = 0; first < sequences.size(); first += batch) {
    std::vector<PrunedSequence*> group;
    for (Sequence* sequence : sequences.subspan(first, batch)) group.push_back(static_cast<PrunedSequence*>(sequence));
    for (auto& result : decode_->Step(group)) results.push_back(std::move(result));
  }
  return results;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StudyEngine>> MakePrunedEngine(const PrunedEngineOptions& options,
                                                              std::unique_ptr<Backend> backend, kvstore::KvStore& store,
                                                              Metrics& metrics) {
  return PrunedEngine::Make(options, std::move(backend), store, metrics);
}

}  // namespace slimfill::engine
