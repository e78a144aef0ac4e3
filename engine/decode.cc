#include "engine/decode.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <optional>

#include "base/metric_names.h"
#include "base/status.h"

namespace slimfill::engine {

absl::StatusOr<TokenEvent> Decode::Sample(PrunedSequence& sequence, absl::Span<float> logits) {
  SLIMFILL_ASSIGN_OR_RETURN(SampledToken sampled, sequence.sampler->Sample(logits));
  return Emit(sequence, std::move(sampled));
}

TokenEvent Decode::Emit(PrunedSequence& sequence, SampledToken sampled) const {
  OutputStream::Piece piece = sequence.output->Push(sampled.token);
  TokenEvent event;
  event.token = sampled.token;
  event.text = std::move(piece.text);
  event.finish = piece.finish;
  if (sequence.sampling.logprobs >= 0) event.logprob = sampled.logprob;
  event.top_logprobs = std::move(sampled.top);
  sequence.position = sequence.prompt_tokens + sequence.output->tokens() - 1;
  sequence.last_token = sampled.token;
  sequence.generated.push_back(sampled.token);
  if (event.finish == FinishReason::kNone && sequence.position + 1 >= p_.max_context) {
    event.finish = FinishReason::kContextFull;
    event.text += sequence.output->Flush();
  }
  return event;
}

std::vector<absl::StatusOr<TokenEvent>> Decode::Step(absl::Span<PrunedSequence* const> sequences) {
  const int64_t n = static_cast<int64_t>(sequences.size());
  const int64_t hidden_cols = p_.model.config().hidden;
  std::vector<absl::StatusOr<TokenEvent>> results;
  const auto fail_all = [&](const absl::Status& status) {
    results.assign(sequences.size(), status);
    return results;
  };
  if (hidden_ == nullptr) {
    auto hidden = p_.backend.Allocate(p_.forward.max_rows() * hidden_cols * DTypeBytes(DType::kF32));
    if (!hidden.ok()) return fail_all(hidden.status());
    hidden_ = *std::move(hidden);
  }
  std::vector<TokenId> tokens;
  std::vector<int32_t> positions;
  for (const PrunedSequence* sequence : sequences) {
    tokens.push_back(sequence->last_token);
    positions.push_back(static_cast<int32_t>(sequence->position));
  }
  const Matrix hidden = hidden_->As(DType::kF32, n, hidden_cols);
  p_.forward.Embed(tokens, hidden);
  if (absl::Status status = RunLayers(sequences, positions, hidden); !status.ok()) return fail_all(status);
  if (absl::Status status = SampleAll(sequences, hidden, results); !status.ok()) return fail_all(status);
  for (PrunedSequence* sequence : sequences) ++sequence->decode.steps;
  return results;
}

// Logits leave the device only where the most likely tokens do not decide.
absl::Status Decode::SampleAll(absl::Span<PrunedSequence* const> sequences, Matrix hidden,
                               std::vector<absl::StatusOr<TokenEvent>>& results) {
  SLIMFILL_ASSIGN_OR_RETURN(const Matrix logits, p_.forward.DeviceLogits(hidden));
  SLIMFILL_ASSIGN_OR_RETURN(const Tops tops, ReadTops(sequences, logits));
  logits_.resize(p_.model.config().vocab);
  for (size_t i = 0; i < sequences.size(); ++i) {
    std::optional<SampledToken> sampled;
    if (tops.count > 0 && sequences[i]->sampler->TopNeeded() > 0) {
      sampled = sequences[i]->sampler->SampleTop(tops.Of(i));
    }
    if (sampled.has_value()) {
      results.push_back(Emit(*sequences[i], *std::move(sampled)));
      continue;
    }
    p_.backend.ReadRows(logits.Rows(static_cast<int64_t>(i), 1), absl::MakeSpan(logits_));
    SLIMFILL_RETURN_IF_ERROR(p_.backend.Health());
    results.push_back(Sample(*sequences[i], absl::MakeSpan(logits_)));
  }
  return absl::OkStatus();
}

TopTokens Decode::Tops::Of(size_t row) const {
  TopTokens top{absl::MakeConstSpan(rows.indices).subspan(row * count, count)};
  if (rows.values.empty()) return top;
  top.logits = absl::MakeConstSpan(rows.values).subspan(row * count, count);
  top.mass_low = rows.masses[row] * (1 - RowTops::kMassError);
  top.mass_high = rows.masses[row] * (1 + RowTops::kMassError);
  return top;
}

absl::StatusOr<Decode::Tops> Decode::ReadTops(absl::Span<PrunedSequence* const> sequences, ConstMatrix logits) {
  static_assert(Sampler::kHead <= Backend::kMaxTop);
  Tops tops;
  std::vector<float> temperatures;
  for (const PrunedSequence* sequence : sequences) {
    tops.count = std::max<int64_t>(tops.count, sequence->sampler->TopNeeded());
    temperatures.push_back(sequence->sampling.temperature);
  }
  if (tops.count == 1) {
    tops.rows.indices.resize(sequences.size());
    p_.backend.ArgmaxRows(logits, absl::MakeSpan(tops.rows.indices));
  } else if (p_.backend.rows_in_host_memory()) {
    tops.count = 0;
  } else if (tops.count > 0) {
    tops.rows = p_.backend.TopRows(logits, tops.count, temperatures);
  }
  SLIMFILL_RETURN_IF_ERROR(p_.backend.Health());
  return tops;
}

absl::Status Decode::RunLayers(absl::Span<PrunedSequence* const> sequences, absl::Span<const int32_t> positions,
                               Matrix hidden) {
  const int64_t q_cols = p_.model.shape().q_cols();
  std::vector<KvLayerView> views(sequences.size());
  for (int layer = 0; layer < p_.model.config().layers; ++layer) {
    bool any_swap = false;
    for (size_t i = 0; i < sequences.size(); ++i) {
      PrunedSequence& sequence = *sequences[i];
      SLIMFILL_RETURN_IF_ERROR(sequence.kv[layer].Append(positions[i] / kBlockTokens));
      if (const auto swap = sequence.swaps.find(layer); swap != sequence.swaps.end()) {
        FinishSwap(sequence, layer, swap->second);
        any_swap = true;
      }
      views[i] = sequence.kv[layer].view();
    }
    const QueryTap tap = [&](int tapped_layer, ConstMatrix q) {
      for (size_t i = 0; i < sequences.size(); ++i) {
        const auto swap = sequences[i]->swaps.find(tapped_layer);
        if (swap == sequences[i]->swaps.end()) continue;
        std::vector<float> row(q_cols);
        p_.backend.ReadRows(q.Rows(static_cast<int64_t>(i), 1), absl::MakeSpan(row));
        BeginSwap(*sequences[i], tapped_layer, swap->second, std::move(row));
      }
    };
    p_.forward.DecodeAttention(layer, positions, views, any_swap ? tap : QueryTap(), hidden);
    p_.forward.Ffn(layer, hidden);
  }
  return absl::OkStatus();
}

void Decode::FinishSwap(PrunedSequence& sequence, int layer, SwapState& swap) {
  if (swap.fetch == nullptr) return;
  const auto begin = std::chrono::steady_clock::now();
  const PendingFetch::State state = swap.fetch->Wait(absl::Now() + p_.swap_wait);
  const double stall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  sequence.decode.stall_seconds += stall;
  p_.metrics.Observe(metric::kKvStallSeconds, stall);
  for (size_t i = 0; i < swap.wanted.size(); ++i) {
    const bool arrived = state == PendingFetch::State::kReady && !swap.fetch->values()[i].empty();
    if (arrived) {
      sequence.kv[layer].Exchange(swap.leaving[i], swap.wanted[i], swap.fetch->values()[i], p_.backend);
      ++sequence.decode.swaps;
    } else {
      ++sequence.decode.missed_swaps;
    }
    p_.metrics.Add(metric::kKvSwaps, {arrived ? "done" : "missed"});
  }
  swap.fetch = nullptr;
}

// Block scores by the mean of the newest tokens' queries, on mean keys: pages that are not held score too.
std::vector<float> Decode::SwapScores(const PrunePlan& plan, const SwapState& swap) const {
  const AttentionShape& shape = p_.model.shape();
  const UnitKeys& units = *swap.unit_keys;
  std::vector<float> q(shape.q_cols(), 0.0f);
  for (const std::vector<float>& row : swap.recent_q) {
    for (size_t i = 0; i < q.size(); ++i) q[i] += row[i] / static_cast<float>(swap.recent_q.size());
  }
  if (swap.stage.score == ScoreKind::kPaper) return units.PaperScores(q, plan.paper_absolute);
  std::vector<int> heads;
  for (const LayerHead& head : swap.stage.heads) {
    if (head.layer == swap.stage.prune_layer) heads.push_back(head.head);
  }
  if (heads.empty()) {
    heads.resize(shape.heads);
    std::iota(heads.begin(), heads.end(), 0);
  }
  const std::vector<float> mass = units.EstimatedMass(q, heads);
  const size_t per_head = mass.size() / heads.size();
  std::vector<float> scores(units.blocks().size(), 0.0f);
  for (size_t h = 0; h < heads.size(); ++h) {
    std::vector<float> dilated =
        DilatedBlockScores(absl::MakeConstSpan(mass).subspan(h * per_head, per_head), units.blocks(),
                           plan.dilate_forward_units, plan.dilate_backward_units);
    NormalizeScores(units.blocks(), swap.forced, absl::MakeSpan(dilated));
    MaxInto(dilated, absl::MakeSpan(scores));
  }
  if (!swap.question_scores.empty()) MaxInto(swap.question_scores, absl::MakeSpan(scores));
  return scores;
}

void Decode::BeginSwap(PrunedSequence& sequence, int layer, SwapState& swap, std::vector<float> q) {
  const PrunePlan& plan = *sequence.plan;
  swap.recent_q.push_back(std::move(q));
  if (static_cast<int>(swap.recent_q.size()) > plan.paper_window) swap.recent_q.erase(swap.recent_q.begin());

  const std::vector<int32_t>& known = swap.unit_keys->blocks();
  std::vector<int32_t> active;
  for (const KvBlock& entry : sequence.kv[layer].view()) {
    if (std::binary_search(known.begin(), known.end(), entry.block)) active.push_back(entry.block);
  }
  if (active.empty()) return;
  const std::vector<float> scores = SwapScores(plan, swap);
  BlockExchange exchange = ChooseExchange(known, scores, swap.forced, active, plan.swap_overlap, plan.swap_margin);
  if (exchange.wanted.empty()) return;
  swap.fetch = sequence.streamer->FetchPrivate(sequence.private_area, layer, exchange.wanted,
                                               p_.backend.KvPageBytes(p_.model.shape()));
  swap.wanted = std::move(exchange.wanted);
  swap.leaving = std::move(exchange.leaving);
}

}  // namespace slimfill::engine
