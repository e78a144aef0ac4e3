#include "engine/prefill.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "base/status.h"

namespace slimfill::engine {
namespace {

// Why a request pruned less than its plan says.
constexpr char kFallbackEntropy[] = "entropy";               // nothing in particular is looked up: dense
constexpr char kFallbackLowPeak[] = "low_peak";              // not sure where it is: first pruning put off
constexpr char kFallbackQuestionFirst[] = "question_first";  // the plan does not, or has no room to ask again: dense
constexpr char kFallbackShort[] = "short_prompt";            // the budgets keep every block anyway

constexpr int64_t kMaxWindowTokens = 64;

bool KeepsByMass(const PrunedSequence& sequence, const PlanStage& stage) {
  return stage.keep_mass > 0 && sequence.request.pruning.mode == PruningMode::kAuto;
}

// Rows and blocks that are the prompt's. The probe's are behind them.
int64_t PromptRows(const PrunedSequence& sequence) {
  const auto& positions = sequence.positions;
  return std::lower_bound(positions.begin(), positions.end(), sequence.prompt_tokens) - positions.begin();
}
std::vector<int32_t> PromptBlocks(const PrunedSequence& sequence) {
  const auto& blocks = sequence.blocks;
  return {blocks.begin(), std::lower_bound(blocks.begin(), blocks.end(), BlockCount(sequence.prompt_tokens))};
}

bool PrunesAgain(const PrunedSequence& sequence) {
  return std::any_of(sequence.stages.begin() + static_cast<int64_t>(sequence.stage), sequence.stages.end(),
                     [](const Stage& stage) { return stage.pruning.has_value(); });
}

}  // namespace

absl::Status Prefill::Begin(PrunedSequence& sequence, absl::Duration load_budget) {
  sequence.streamer = &p_.streamer;
  sequence.plan = sequence.request.pruning.plan != nullptr ? sequence.request.pruning.plan.get() : p_.plan;
  sequence.question = FindQuestion(sequence.request.prompt, sequence.request.pruning.query_span,
                                   sequence.request.last_user_content, p_.tokenizer);
  sequence.tokens = sequence.request.prompt;
  PlanStages(sequence);
  const auto rows = static_cast<int64_t>(sequence.tokens.size());
  sequence.positions.resize(rows);
  std::iota(sequence.positions.begin(), sequence.positions.end(), 0);
  sequence.blocks.resize(BlockCount(rows));
  std::iota(sequence.blocks.begin(), sequence.blocks.end(), 0);
  sequence.report.prompt_tokens = sequence.prompt_tokens;
  if (sequence.request.pruning.trace) sequence.report.question = sequence.question.tokens;
  sequence.window.emplace(WindowTokens(sequence));
  sequence.links = PromptLinks(HeadsToRecord(sequence), sequence.prompt_tokens);

  // Whole blocks, so that stored residual blocks fit; freed at the end of prefill.
  const int64_t row_bytes = p_.model.config().hidden * DTypeBytes(DType::kF32);
  SLIMFILL_ASSIGN_OR_RETURN(sequence.hidden_buffer, p_.backend.Allocate(BlockCount(rows) * kBlockTokens * row_bytes));
  if (MayUseStore(sequence)) LoadPrefix(sequence, load_budget);
  UpdateWorkTotal(sequence);
  return absl::OkStatus();
}

// Where nothing is pruned, only those that prune what is stored need links: of the engine's own plan.
std::vector<LayerHead> Prefill::HeadsToRecord(const PrunedSequence& sequence) const {
  if (sequence.request.pruning.mode != PruningMode::kOff) return LinkHeads(sequence.plan);
  return sequence.request.no_store ? std::vector<LayerHead>() : LinkHeads(p_.plan);
}

// Whether stage 1 is what the store has, or shall have.
bool Prefill::MayUseStore(const PrunedSequence& sequence) const {
  return p_.prefix_cache != nullptr && !sequence.request.no_store &&
         sequence.stages[0].last_layer + 1 == p_.prefix_cache->layers() && sequence.links.heads() == LinkHeads(p_.plan);
}

void Prefill::LoadPrefix(PrunedSequence& sequence, absl::Duration budget) {
  PrefixCache& cache = *p_.prefix_cache;
  sequence.prefix_keys = cache.Keys(sequence.request.prompt, sequence.request.tenant_salt);
  const absl::Time deadline = absl::Now() + budget;
  const bool may_run_hot = MayRunHot(sequence);
  const int64_t asked = may_run_hot ? (sequence.prompt_tokens - 1) / kBlockTokens : ReusableBlocks(sequence);
  const auto keys = absl::MakeConstSpan(sequence.prefix_keys.blocks).first(asked);
  const StoredPrefix stored = cache.Find(keys, may_run_hot, absl::Now() + p_.match_wait);
  int64_t loaded = 0;
  if (RunsHot(sequence, stored, stored.hot_blocks)) loaded = LoadHot(sequence, stored, deadline);
  sequence.hot_rows = loaded * kBlockTokens;
  const int64_t end = sequence.stages[0].pruning.has_value() ? ReusableBlocks(sequence) : asked;
  loaded = cache.LoadStage1(keys, stored, loaded, end, deadline, absl::MakeSpan(sequence.kv).first(cache.layers()),
                            AllHiddenRows(sequence), sequence.links.looks());
  cache.Release(stored, loaded, end);
  sequence.next_row = loaded * kBlockTokens;
  sequence.report.cached_tokens = sequence.next_row;
}

// Makes a pruned sequence a dense one that starts behind what is stored with all layers. Returns the blocks loaded.
int64_t Prefill::LoadHot(PrunedSequence& sequence, const StoredPrefix& stored, absl::Time deadline) {
  const int64_t loaded =
      p_.prefix_cache->LoadHot(sequence.prefix_keys.blocks, stored, deadline, absl::MakeSpan(sequence.kv));
  if (loaded < stored.hot_blocks && !RunsHot(sequence, stored, loaded)) {  // the store went away: not worth it any more
    for (LayerKv& layer : sequence.kv) layer.Clear();
    return 0;
  }
  PlanDense(sequence);
  DropProbe(sequence);
  return loaded;
}

// Whoever asks for a share of blocks, or to see what is kept, wants pruning.
bool Prefill::MayRunHot(const PrunedSequence& sequence) const {
  const PruningRequest& pruning = sequence.request.pruning;
  if (!p_.hot_prefixes) return false;
  return !sequence.stages[0].pruning.has_value() || (pruning.mode == PruningMode::kAuto && !pruning.trace);
}

// Whether running densely what is not hot is less work than pruning with what is warm.
bool Prefill::RunsHot(const PrunedSequence& sequence, const StoredPrefix& stored, int64_t hot_blocks) const {
  if (hot_blocks == 0) return false;
  if (!sequence.stages[0].pruning.has_value()) return true;
  const ModelConfig& config = p_.model.config();
  const auto flops = [&](const std::vector<Stage>& stages, int64_t stage1_blocks, int64_t all_layers_blocks) {
    return Flops(StagesWork(stages, config, sequence.prompt_tokens, p_.chunk_tokens, stage1_blocks * kBlockTokens,
                            all_layers_blocks * kBlockTokens),
                 config);
  };
  const double pruned = flops(sequence.stages, std::min(stored.blocks, ReusableBlocks(sequence)), 0);
  return flops(DenseStages(p_.prefix_cache->layers() - 1, config.layers), stored.blocks, hot_blocks) <= pruned;
}

// The queries that score: of the question's last tokens, or the probe's, and of everything behind them (the template's
// closing tokens ask too).
TokenRange Prefill::WindowTokens(const PrunedSequence& sequence) const {
  const int64_t n = sequence.prompt_tokens;
  if (sequence.plan != nullptr && sequence.plan->Uses(ScoreKind::kMeanAttention)) {
    return {std::max<int64_t>(0, n - sequence.plan->attention_window), n};  // UniPrefill does not look for a question
  }
  const auto end = static_cast<int64_t>(sequence.tokens.size());
  const int64_t question = end > n ? n : sequence.question.tokens.first;
  return {std::max({int64_t{0}, end - kMaxWindowTokens, question}), end};
}

// Blocks before the first token whose queries are needed again, and at least the last token must run.
int64_t Prefill::ReusableBlocks(const PrunedSequence& sequence) const {
  const int64_t first_needed = std::min(sequence.window->tokens().first, sequence.prompt_tokens - 1);
  return first_needed / kBlockTokens;
}

void Prefill::PlanStages(PrunedSequence& sequence) {
  const PruningRequest& pruning = sequence.request.pruning;
  if (sequence.plan == nullptr || pruning.mode == PruningMode::kOff) return PlanDense(sequence);
  const PrunePlan& plan = *sequence.plan;
  sequence.forced = ForcedBlocks(plan, sequence.prompt_tokens, sequence.question);
  const int64_t blocks = BlockCount(sequence.prompt_tokens);
  std::vector<int64_t> keep_blocks;
  bool keeps_all = true;
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    double ratio = 0;
    if (pruning.mode == PruningMode::kCustom) {
      ratio = pruning.keep_ratio.size() == 1 ? pruning.keep_ratio[0] : pruning.keep_ratio[i];
    }
    keep_blocks.push_back(BlocksToKeep(plan, plan.stages[i], ratio, sequence.prompt_tokens, sequence.forced));
    keeps_all &= keep_blocks.back() >= blocks && !KeepsByMass(sequence, plan.stages[i]);
  }
  if (keeps_all) {
    return FallBackToDense(sequence, kFallbackShort);
  }
  if (sequence.question.before_document && !plan.Uses(ScoreKind::kMeanAttention)) {
    const bool may_prune = plan.prune_question_first || pruning.mode == PruningMode::kCustom;
    if (!may_prune || !AppendProbe(sequence)) return FallBackToDense(sequence, kFallbackQuestionFirst);
  }
  sequence.stages = PrunedStages(plan, keep_blocks, p_.model.config().layers);
}

void Prefill::FallBackToDense(PrunedSequence& sequence, const char* reason) {
  sequence.report.fallbacks.push_back(reason);
  sequence.report.fell_back_to_dense = true;
  PlanDense(sequence);
}

// False when the model's context has no room for it.
bool Prefill::AppendProbe(PrunedSequence& sequence) const {
  const std::vector<TokenId> probe =
      ProbeTokens(sequence.request.prompt, sequence.question, sequence.request.last_user_content);
  if (sequence.prompt_tokens + static_cast<int64_t>(probe.size()) > p_.max_context) return false;
  sequence.tokens.insert(sequence.tokens.end(), probe.begin(), probe.end());
  return true;
}

void Prefill::DropProbe(PrunedSequence& sequence) const {
  sequence.tokens.resize(sequence.prompt_tokens);
  sequence.positions.resize(PromptRows(sequence));
  sequence.blocks = PromptBlocks(sequence);
}

void Prefill::PlanDense(PrunedSequence& sequence) {
  const int split = p_.prefix_cache == nullptr ? -1 : p_.prefix_cache->layers() - 1;
  sequence.stages = DenseStages(split, p_.model.config().layers);
}

void Prefill::UpdateWorkTotal(PrunedSequence& sequence) {
  const std::vector<Stage> left(sequence.stages.begin() + sequence.stage, sequence.stages.end());
  const int64_t rows = static_cast<int64_t>(sequence.positions.size());
  const PrefillWork work =
      StagesWork(left, p_.model.config(), rows, p_.chunk_tokens, sequence.next_row, sequence.hot_rows);
  sequence.work_total_flops = sequence.work_done_flops + Flops(work, p_.model.config());
}

Matrix Prefill::AllHiddenRows(PrunedSequence& sequence) const {
  const int64_t hidden = p_.model.config().hidden;
  const int64_t rows = sequence.hidden_buffer->bytes() / (hidden * DTypeBytes(DType::kF32));
  return sequence.hidden_buffer->As(DType::kF32, rows, hidden);
}

Matrix Prefill::HiddenRows(PrunedSequence& sequence, int64_t first, int64_t count) const {
  return AllHiddenRows(sequence).Rows(first, count);
}

absl::StatusOr<bool> Prefill::RunChunk(PrunedSequence& sequence, PrefillWork& work, std::vector<float>& logits) {
  const auto begin = std::chrono::steady_clock::now();
  const ModelConfig& config = p_.model.config();
  const Stage stage = sequence.stages[sequence.stage];  // a copy: a fallback replaces the stages
  const int64_t rows = static_cast<int64_t>(sequence.positions.size());
  const int64_t chunk_tokens = sequence.chunk_tokens > 0 ? sequence.chunk_tokens : p_.chunk_tokens;
  const int64_t first = sequence.next_row, end = std::min(first + chunk_tokens, rows);
  if (sequence.report.stages.size() == sequence.stage) {
    const int64_t prompt_rows = PromptRows(sequence);
    sequence.report.stages.push_back(
        {.last_layer = stage.last_layer, .tokens_in = prompt_rows, .tokens_kept = prompt_rows});
  }
  StageReport& stage_report = sequence.report.stages[sequence.stage];
  if (first < end) {
    work = ChunkWork(stage, config, first, end);
    SLIMFILL_RETURN_IF_ERROR(RunLayers(sequence, stage, first, end));
    StorePrefix(sequence, stage, first, end);
    SLIMFILL_RETURN_IF_ERROR(p_.backend.Finish());
    sequence.next_row = end;
    sequence.report.work += work;
    sequence.work_done_flops += Flops(work, config);
  }
  bool done = false;
  if (end == rows) {
    if (stage.final) {
      logits.resize(config.vocab);
      SLIMFILL_RETURN_IF_ERROR(p_.forward.Logits(HiddenRows(sequence, rows - 1, 1), absl::MakeSpan(logits)));
      sequence.hidden_buffer.reset();
      done = true;
    } else {
      SLIMFILL_RETURN_IF_ERROR(EndStage(sequence));
      SLIMFILL_RETURN_IF_ERROR(p_.backend.Health());
      stage_report.tokens_kept = PromptRows(sequence);
    }
  }
  stage_report.compute_seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return done;
}

absl::Status Prefill::RunLayers(PrunedSequence& sequence, const Stage& stage, int64_t first, int64_t end) {
  const Matrix hidden = HiddenRows(sequence, first, end - first);
  const absl::Span<const int32_t> positions = absl::MakeConstSpan(sequence.positions).subspan(first, end - first);
  if (stage.first_layer == 0) {
    p_.forward.Embed(absl::MakeConstSpan(sequence.tokens).subspan(first, end - first), hidden);
  } else {
    p_.forward.Ffn(stage.first_layer - 1, hidden);
  }
  const int block_begin = positions.front() / kBlockTokens, block_end = positions.back() / kBlockTokens;
  const QueryTap tap = [&](int layer, ConstMatrix q) {
    sequence.window->Capture(layer, q, positions, p_.backend);
    if (sequence.stage > 0) return;  // links need every token
    const int64_t prompt_rows = std::clamp<int64_t>(sequence.prompt_tokens - first, 0, end - first);
    if (prompt_rows == 0) return;
    sequence.links.Record(layer, q.Rows(0, prompt_rows), positions.first(prompt_rows), p_.model.shape(),
                          sequence.kv[layer].view(), p_.backend);
  };
  for (int layer = stage.first_layer; layer <= stage.last_layer; ++layer) {
    for (const int32_t block : sequence.blocks) {
      if (block >= block_begin && block <= block_end) SLIMFILL_RETURN_IF_ERROR(sequence.kv[layer].Append(block));
    }
    const KvLayerView kv = sequence.kv[layer].view();
    if (stage.final && layer == stage.last_layer) {
      // Only the last token's row is needed from here on.
      const int64_t needed = end == static_cast<int64_t>(sequence.positions.size()) ? 1 : 0;
      p_.forward.PrefillAttentionTail(layer, positions, kv, tap, hidden.rows - needed, hidden);
      if (needed > 0) p_.forward.Ffn(layer, hidden.Rows(hidden.rows - 1, 1));
      break;
    }
    p_.forward.PrefillAttention(layer, positions, kv, tap, hidden);
    if (layer < stage.last_layer) p_.forward.Ffn(layer, hidden);
  }
  return absl::OkStatus();
}

// Full blocks whose last row has just been run: stage 1, and where nothing was pruned the layers behind it.
void Prefill::StorePrefix(PrunedSequence& sequence, const Stage& stage, int64_t first, int64_t end) {
  if (sequence.prefix_keys.blocks.empty()) return;
  const int64_t first_block = first / kBlockTokens, end_block = end / kBlockTokens;
  const auto kv = absl::MakeConstSpan(sequence.kv);
  if (sequence.stage == 0 && !stage.final) {
    p_.prefix_cache->StoreStage1(sequence.prefix_keys, first_block, end_block, kv.first(p_.prefix_cache->layers()),
                                 AllHiddenRows(sequence), sequence.links.looks());
  } else if (stage.final && p_.hot_prefixes && !sequence.report.pruned) {
    p_.prefix_cache->StoreUpper(sequence.prefix_keys, first_block, end_block, kv);
  }
}

absl::Status Prefill::EndStage(PrunedSequence& sequence) {
  const Stage stage = sequence.stages[sequence.stage];
  if (stage.pruning.has_value()) PruneStage(sequence, stage);
  ++sequence.stage;
  if (!PrunesAgain(sequence)) DropProbe(sequence);
  sequence.next_row = sequence.hot_rows;
  UpdateWorkTotal(sequence);
  return absl::OkStatus();
}

void Prefill::PruneStage(PrunedSequence& sequence, const Stage& stage) {
  const BlockScorer scorer(p_.model, p_.backend, *sequence.plan);
  const std::vector<UnitLink> links = sequence.links.UnitLinks();
  const std::vector<int32_t> candidates = PromptBlocks(sequence);
  const BlockScores scores = scorer.Score({.stage = *stage.pruning,
                                           .first_layer = stage.first_layer,
                                           .kv = sequence.kv,
                                           .candidates = candidates,
                                           .forced = sequence.forced,
                                           .prompt_tokens = sequence.prompt_tokens,
                                           .rows_end = static_cast<int64_t>(sequence.tokens.size()),
                                           .question = sequence.question,
                                           .window = *sequence.window,
                                           .links = links,
                                           .given_blocks = sequence.request.pruning.given_blocks,
                                           .earlier_candidates = sequence.earlier_candidates,
                                           .earlier_scores = sequence.earlier_scores});
  // The probe's keys have served. What it left in the prompt's last page decode overwrites before it sees it.
  for (int layer = stage.first_layer; layer <= stage.last_layer; ++layer) sequence.kv[layer].KeepOnly(candidates);
  if (!FallBack(sequence, scores)) Prune(sequence, stage, candidates, scores);
  if (sequence.request.pruning.trace) {
    sequence.report.trace.push_back({.prune_layer = stage.last_layer,
                                     .candidate_blocks = candidates,
                                     .scores = scores.scores,
                                     .kept_blocks = PromptBlocks(sequence),
                                     .forced_blocks = sequence.forced});
  }
}

// The safety rules of the first pruning (AUTO): true when it does not take place.
bool Prefill::FallBack(PrunedSequence& sequence, const BlockScores& scores) {
  const PrunePlan& plan = *sequence.plan;
  const bool first = sequence.stage == 0 && sequence.report.fallbacks.empty();
  if (!first || sequence.request.pruning.mode != PruningMode::kAuto) return false;
  const int next_layer = sequence.stages[0].last_layer + 1;
  if (scores.entropy > plan.max_entropy) {
    sequence.report.fallbacks.push_back(kFallbackEntropy);
    sequence.report.fell_back_to_dense = true;
    sequence.stages.resize(1);
    sequence.stages.push_back(
        {.first_layer = next_layer, .last_layer = p_.model.config().layers - 1, .final = true, .pruning = {}});
    return true;
  }
  if (scores.peak < plan.min_peak && plan.retry.has_value()) {
    sequence.report.fallbacks.push_back(kFallbackLowPeak);
    const PlanStage& retry = *plan.retry;
    std::vector<Stage> stages = {sequence.stages[0]};
    stages.push_back({.first_layer = next_layer,
                      .last_layer = retry.prune_layer,
                      .pruning = retry,
                      .keep_blocks = BlocksToKeep(plan, retry, 0, sequence.prompt_tokens, sequence.forced)});
    for (const Stage& stage : sequence.stages) {
      if (stage.last_layer <= retry.prune_layer) continue;
      stages.push_back(stage);
      stages.back().first_layer = stages[stages.size() - 2].last_layer + 1;
    }
    sequence.stages = std::move(stages);
    return true;
  }
  return false;
}

void Prefill::Prune(PrunedSequence& sequence, const Stage& stage, const std::vector<int32_t>& candidates,
                    const BlockScores& scores) {
  int64_t keep = stage.keep_blocks;
  if (sequence.request.pruning.mode != PruningMode::kCustom) {
    keep = BlocksToKeepByScore(*sequence.plan, *stage.pruning, keep, sequence.prompt_tokens, candidates, scores.scores,
                               sequence.forced);
  }
  const std::vector<int32_t> kept = SelectBlocks(candidates, scores.scores, sequence.forced, keep);
  sequence.earlier_candidates = candidates;
  sequence.earlier_scores = scores.scores;
  if (kept.size() == candidates.size()) return;
  sequence.report.pruned = true;
  PrepareSwaps(sequence, stage, scores);
  sequence.kv[stage.last_layer].KeepOnly(kept);

  std::vector<int32_t> rows;
  for (size_t row = 0; row < sequence.positions.size(); ++row) {
    const int32_t position = sequence.positions[row];
    if (position >= sequence.prompt_tokens || std::binary_search(kept.begin(), kept.end(), position / kBlockTokens)) {
      rows.push_back(static_cast<int32_t>(row));
    }
  }
  const Matrix hidden = HiddenRows(sequence, 0, static_cast<int64_t>(sequence.positions.size()));
  p_.backend.GatherRows(hidden, rows, hidden.Rows(0, static_cast<int64_t>(rows.size())));
  for (size_t i = 0; i < rows.size(); ++i) sequence.positions[i] = sequence.positions[rows[i]];
  sequence.positions.resize(rows.size());
  std::vector<int32_t> blocks = kept;
  blocks.insert(blocks.end(), sequence.blocks.begin() + static_cast<int64_t>(candidates.size()), sequence.blocks.end());
  sequence.blocks = std::move(blocks);
}

// Before the prune layer's pages go: all of them to the store, and their mean keys to the host, so that decode can
// bring blocks back. A stage that has no scores of its own at this layer cannot tell which.
void Prefill::PrepareSwaps(PrunedSequence& sequence, const Stage& stage, const BlockScores& scores) {
  const PlanStage& pruning = *stage.pruning;
  if (pruning.score == ScoreKind::kPrevious || sequence.request.sampling.max_tokens <= 1) return;
  if (sequence.private_area == nullptr) sequence.private_area = p_.streamer.OpenPrivate();
  const int layer = stage.last_layer;
  const KvLayerView view = sequence.kv[layer].view();
  const int64_t page_bytes = p_.backend.KvPageBytes(p_.model.shape());
  for (const KvBlock& entry : view) {
    std::vector<std::byte> page(page_bytes);
    const absl::Span<const std::byte> source(entry.page, page_bytes);
    std::unique_ptr<PendingRead> pending = p_.backend.BeginRead({source}, absl::MakeSpan(page));
    p_.streamer.PutPrivate(sequence.private_area, layer, entry.block, std::move(page), std::move(pending));
  }
  SwapState& swap = sequence.swaps[layer];
  swap.stage = pruning;
  swap.forced = sequence.forced;
  // The paper re-scores by the newest tokens alone. Ours goes on serving the question.
  if (pruning.score != ScoreKind::kPaper) {
    swap.question_scores = CarryScores(PromptBlocks(sequence), scores.scores, BlockIds(view));
  }
  swap.unit_keys = std::make_unique<UnitKeys>(BlockIds(view), static_cast<int32_t>(sequence.prompt_tokens),
                                              p_.model.shape(), view, p_.backend);
}

}  // namespace slimfill::engine
