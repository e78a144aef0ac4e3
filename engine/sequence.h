// One request inside the engine: where it stands, what it holds. Internal to the engine.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/block_scorer.h"
#include "engine/engine.h"
#include "engine/kv/layer_kv.h"
#include "engine/kv/prefix_cache.h"
#include "engine/kv/streamer.h"
#include "engine/prompt_links.h"
#include "engine/prune/policy.h"
#include "engine/sampling/output_stream.h"
#include "engine/sampling/sampler.h"
#include "engine/stage.h"
#include "engine/unit_keys.h"

namespace slimfill::engine {

// What decode needs to exchange blocks at one prune layer.
struct SwapState {
  PlanStage stage;
  std::unique_ptr<UnitKeys> unit_keys;  // of every block that entered the layer
  std::vector<int32_t> forced;
  std::vector<float> question_scores;        // what the prefill gave those blocks; empty: only the newest queries count
  std::vector<std::vector<float>> recent_q;  // the newest tokens' queries, [heads, head_dim] each
  std::shared_ptr<PendingFetch> fetch;       // null: nothing on its way
  std::vector<int32_t> wanted;               // blocks being fetched, best first
  std::vector<int32_t> leaving;              // blocks they replace, worst first; as many
};

class PrunedSequence final : public Sequence {
 public:
  PrunedSequence(SequenceRequest sequence_request, int layers, PagePool& pool, const Tokenizer& tokenizer, int vocab)
      : request(std::move(sequence_request)),
        prompt_tokens(static_cast<int64_t>(request.prompt.size())),
        sampling(request.sampling) {
    sampler.emplace(sampling, request.prompt, vocab);
    output.emplace(tokenizer, sampling);
    kv.reserve(layers);
    for (int i = 0; i < layers; ++i) kv.emplace_back(pool);
  }
  ~PrunedSequence() override {
    if (on_end) on_end(*this);
    if (private_area != nullptr) streamer->ClosePrivate(private_area);
  }

  const PrefillReport& prefill_report() const override { return report; }
  DecodeReport decode_report() const override { return decode; }
  std::string Flush() override { return output->Flush(); }

  const SequenceRequest request;
  int64_t chunk_tokens = 0;  // 0: the engine's
  const int64_t prompt_tokens;
  const PrunePlan* plan = nullptr;  // the request's or the engine's; null: dense only
  QuestionSegment question;
  std::vector<int32_t> forced;  // blocks

  // Prefill.
  // What is run: the prompt and, when its question stands before the document, the probe behind it (ProbeTokens). The
  // prompt's tokens see nothing of the probe, and once nothing more is to be pruned it is gone.
  std::vector<TokenId> tokens;
  std::vector<Stage> stages;
  size_t stage = 0;                       // the one being run
  int64_t next_row = 0;                   // of the stage's rows
  int64_t hot_rows = 0;                   // stored with all layers: no stage runs them. Above 0 nothing is pruned
  std::vector<int32_t> positions;         // of the rows, ascending
  std::vector<int32_t> blocks;            // that the rows belong to
  std::unique_ptr<Buffer> hidden_buffer;  // f32 [prompt, hidden]; freed when prefill is done
  std::optional<QueryWindow> window;
  PromptLinks links;
  std::vector<int32_t> earlier_candidates;
  std::vector<float> earlier_scores;
  PrefixKeys prefix_keys;  // without blocks: prefix reuse is off
  double work_total_flops = 0;
  double work_done_flops = 0;
  PrefillReport report;

  // KV.
  PageReservation reservation;  // before kv: pages go back first
  std::vector<LayerKv> kv;      // per layer
  KvStreamer* streamer = nullptr;
  std::shared_ptr<PrivateArea> private_area;  // null until something is stored for swaps
  std::map<int, SwapState> swaps;             // by layer

  // Decode.
  SamplingParams sampling;  // the request's, or of the latest restart
  std::optional<Sampler> sampler;
  std::optional<OutputStream> output;
  std::vector<TokenId> generated;
  std::function<void(PrunedSequence&)> on_end;  // called first when the sequence is destroyed
  TokenId last_token = -1;
  int64_t position = 0;  // of last_token
  DecodeReport decode;
};

}  // namespace slimfill::engine
