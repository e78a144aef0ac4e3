#include "server/convert.h"

#include <algorithm>
#include <filesystem>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "server/errors.h"

namespace slimfill::server {
namespace {

constexpr int kMaxMessages = 4096;
constexpr int kMaxPriority = 100;
constexpr int kMaxKeepRatios = 64;
constexpr int64_t kMaxSpan = int64_t{1} << 40;

template <typename T>
absl::Status CheckRange(absl::string_view field, T value, T low, T high) {
  if (value >= low && value <= high) return absl::OkStatus();  // false for NaN
  return FieldError(field, absl::StrCat(value, " is outside the allowed range ", low, " to ", high));
}

// As CheckRange, `low` itself excluded.
absl::Status CheckAbove(absl::string_view field, float value, float low, float high) {
  if (value > low && value <= high) return absl::OkStatus();
  return FieldError(field, absl::StrCat(value, " is not allowed: it must be above ", low, " and at most ", high));
}

absl::Status CheckToken(absl::string_view field, int index, int32_t token, int vocab) {
  if (token >= 0 && token < vocab) return absl::OkStatus();
  return FieldError(absl::StrCat(field, "[", index, "]"),
                    absl::StrCat("token id ", token, " is outside the vocabulary of ", vocab));
}

// The engine's errors begin with the name of the field; clients get its path.
absl::Status UnderField(absl::string_view parent, const absl::Status& status) {
  if (status.ok()) return status;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(status.message(), absl::MaxSplits(' ', 1));
  return FieldError(absl::StrCat(parent, ".", parts.first), parts.second);
}

uint64_t DrawSeed() {
  std::random_device random;
  return (uint64_t{random()} << 32) | random();
}

absl::StatusOr<engine::SamplingParams> Sampling(const v1::SamplingParams& in, int vocab) {
  engine::SamplingParams out;
  if (in.has_max_tokens()) out.max_tokens = in.max_tokens();
  if (in.has_temperature()) out.temperature = in.temperature();
  if (in.has_top_p()) out.top_p = in.top_p();
  if (in.has_top_k()) out.top_k = in.top_k();
  if (in.has_min_p()) out.min_p = in.min_p();
  if (in.has_repetition_penalty()) out.repetition_penalty = in.repetition_penalty();
  if (in.has_presence_penalty()) out.presence_penalty = in.presence_penalty();
  if (in.has_frequency_penalty()) out.frequency_penalty = in.frequency_penalty();
  out.seed = in.has_seed() ? in.seed() : DrawSeed();
  out.stop.assign(in.stop().begin(), in.stop().end());
  out.stop_token_ids.assign(in.stop_token_ids().begin(), in.stop_token_ids().end());
  out.ignore_eos = in.ignore_eos();

  if (in.has_logprobs()) out.logprobs = in.logprobs();
  SLIMFILL_RETURN_IF_ERROR(UnderField("sampling", engine::Validate(out, vocab)));
  return out;
}

absl::Status CheckKeepRatio(const std::vector<float>& keep_ratio) {
  SLIMFILL_RETURN_IF_ERROR(CheckRange<int64_t>("pruning.keep_ratio (count)", keep_ratio.size(), 1, kMaxKeepRatios));
  for (size_t i = 0; i < keep_ratio.size(); ++i) {
    const std::string field = absl::StrCat("pruning.keep_ratio[", i, "]");
    SLIMFILL_RETURN_IF_ERROR(CheckAbove(field, keep_ratio[i], 0, 1));
    if (i > 0 && keep_ratio[i] > keep_ratio[i - 1]) {
      return FieldError(field, absl::StrCat(keep_ratio[i], " is more than the ", keep_ratio[i - 1],
                                            " before it: later stages cannot keep what earlier ones dropped"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<engine::PruningRequest> Pruning(const v1::PruningParams& in) {
  engine::PruningRequest out;
  switch (in.mode()) {
    case v1::PRUNING_MODE_UNSPECIFIED:
    case v1::PRUNING_MODE_AUTO:
      out.mode = engine::PruningMode::kAuto;
      break;
    case v1::PRUNING_MODE_OFF:
      out.mode = engine::PruningMode::kOff;
      break;
    case v1::PRUNING_MODE_CUSTOM:
      out.mode = engine::PruningMode::kCustom;
      break;
    default:
      return FieldError("pruning.mode", absl::StrCat(static_cast<int>(in.mode()),
                                                     " is not a mode: use PRUNING_MODE_AUTO, _OFF or _CUSTOM"));
  }
  out.keep_ratio.assign(in.keep_ratio().begin(), in.keep_ratio().end());
  if (out.mode == engine::PruningMode::kCustom) {
    SLIMFILL_RETURN_IF_ERROR(CheckKeepRatio(out.keep_ratio));
  } else if (!out.keep_ratio.empty()) {
    return FieldError("pruning.keep_ratio", "is only used when pruning.mode is PRUNING_MODE_CUSTOM");
  }
  if (in.has_query_span()) {
    const int64_t begin = in.query_span().begin(), end = in.query_span().end();
    SLIMFILL_RETURN_IF_ERROR(CheckRange<int64_t>("pruning.query_span.begin", begin, 0, kMaxSpan));
    SLIMFILL_RETURN_IF_ERROR(CheckRange<int64_t>("pruning.query_span.end", end, begin + 1, kMaxSpan));
    out.query_span = {begin, end};
  }
  return out;
}

absl::StatusOr<Prompt> ChatPrompt(v1::Chat&& chat) {
  SLIMFILL_RETURN_IF_ERROR(CheckRange<int64_t>("chat.messages (count)", chat.messages_size(), 1, kMaxMessages));
  std::vector<engine::ChatMessage> messages;
  messages.reserve(chat.messages_size());
  for (int i = 0; i < chat.messages_size(); ++i) {
    v1::ChatMessage& message = *chat.mutable_messages(i);
    const std::string field = absl::StrCat("chat.messages[", i, "].role");
    const std::string& role = message.role();
    if (role != "system" && role != "user" && role != "assistant") {
      return FieldError(field, absl::StrCat("'", role.substr(0, 32), "' is not system, user or assistant"));
    }
    if (role == "system" && i > 0) return FieldError(field, "only the first message may be of the system");
    messages.push_back({role, std::move(*message.mutable_content())});
  }
  const bool silent = std::all_of(messages.begin(), messages.end(),
                                  [](const engine::ChatMessage& message) { return message.content.empty(); });
  if (silent) return FieldError("chat.messages", "are all empty: give a prompt");
  return Prompt(std::move(messages));
}

absl::StatusOr<Prompt> TextPrompt(std::string&& text) {
  if (text.empty()) return FieldError("text", "is empty: give a prompt");
  return Prompt(std::move(text));
}

absl::StatusOr<Prompt> IdsPrompt(const v1::TokenIds& in, int vocab) {
  if (in.ids().empty()) return FieldError("token_ids.ids", "is empty: give a prompt");
  for (int i = 0; i < in.ids_size(); ++i) {
    SLIMFILL_RETURN_IF_ERROR(CheckToken("token_ids.ids", i, in.ids(i), vocab));
  }
  return Prompt(std::vector<engine::TokenId>(in.ids().begin(), in.ids().end()));
}

// The three requests have the same fields by design.
template <typename Request>
absl::StatusOr<GenerateInput> ConvertGenerate(Request&& request, int vocab) {
  GenerateInput input;
  input.model = std::move(*request.mutable_model());
  absl::StatusOr<Prompt> prompt = FieldError("prompt", "is missing: set text, chat or token_ids");
  if (request.has_text()) prompt = TextPrompt(std::move(*request.mutable_text()));
  if (request.has_chat()) prompt = ChatPrompt(std::move(*request.mutable_chat()));
  if (request.has_token_ids()) prompt = IdsPrompt(request.token_ids(), vocab);
  SLIMFILL_ASSIGN_OR_RETURN(input.prompt, std::move(prompt));
  SLIMFILL_ASSIGN_OR_RETURN(input.sampling, Sampling(request.sampling(), vocab));
  SLIMFILL_ASSIGN_OR_RETURN(input.pruning, Pruning(request.pruning()));
  input.pruning.trace = request.include_prune_trace();
  SLIMFILL_RETURN_IF_ERROR(CheckRange("priority", request.priority(), -kMaxPriority, kMaxPriority));
  input.priority = request.priority();
  input.no_store = request.no_store();
  return input;
}

double Milliseconds(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

v1::FinishReason Reason(engine::FinishReason reason) {
  switch (reason) {
    case engine::FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case engine::FinishReason::kStopString:
      return v1::FINISH_REASON_STOP_STRING;
    case engine::FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case engine::FinishReason::kContextFull:
      return v1::FINISH_REASON_CONTEXT_FULL;
    case engine::FinishReason::kNone:
    case engine::FinishReason::kCancelled:
      break;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

void FillTrace(const engine::PruneTraceStage& in, v1::PruneTraceStage& out) {
  out.set_prune_layer(in.prune_layer);
  out.mutable_candidate_blocks()->Assign(in.candidate_blocks.begin(), in.candidate_blocks.end());
  out.mutable_scores()->Assign(in.scores.begin(), in.scores.end());
  out.mutable_kept_blocks()->Assign(in.kept_blocks.begin(), in.kept_blocks.end());
  out.mutable_forced_blocks()->Assign(in.forced_blocks.begin(), in.forced_blocks.end());
}

void FillPrefill(const engine::PrefillReport& in, v1::Finished& out) {
  out.set_pruned(in.pruned);
  out.set_served_by(in.served_by);
  out.mutable_fallbacks()->Assign(in.fallbacks.begin(), in.fallbacks.end());
  for (const engine::StageReport& stage : in.stages) {
    v1::StageSummary& summary = *out.add_stages();
    summary.set_last_layer(stage.last_layer);
    summary.set_tokens_in(stage.tokens_in);
    summary.set_tokens_kept(stage.tokens_kept);
    summary.set_compute_ms(stage.compute_seconds * 1e3);
  }
  for (const engine::PruneTraceStage& stage : in.trace) FillTrace(stage, *out.add_prune_trace());
  if (in.question.has_value()) {
    out.mutable_question()->set_begin(in.question->first);
    out.mutable_question()->set_end(in.question->second);
  }
  out.set_kv_bytes(in.kv_bytes);
  out.set_dense_kv_bytes(in.dense_kv_bytes);
}

}  // namespace

absl::StatusOr<GenerateInput> FromProto(v1::GenerateRequest&& request, int vocab) {
  return ConvertGenerate(std::move(request), vocab);
}

absl::StatusOr<GenerateInput> FromProto(v1::GenerateOnceRequest&& request, int vocab) {
  return ConvertGenerate(std::move(request), vocab);
}

absl::StatusOr<GenerateInput> FromProto(v1::FirstTokenRequest&& request, int vocab) {
  SLIMFILL_ASSIGN_OR_RETURN(GenerateInput input, ConvertGenerate(std::move(request), vocab));
  input.sampling.max_tokens = 1;
  return input;
}

absl::StatusOr<TokenizeInput> FromProto(v1::TokenizeRequest&& request) {
  TokenizeInput input;
  input.model = std::move(*request.mutable_model());
  absl::StatusOr<Prompt> prompt = FieldError("prompt", "is missing: set text or chat");
  if (request.has_text()) prompt = Prompt(std::move(*request.mutable_text()));  // "" has no tokens, and that is fine
  if (request.has_chat()) prompt = ChatPrompt(std::move(*request.mutable_chat()));
  SLIMFILL_ASSIGN_OR_RETURN(input.prompt, std::move(prompt));
  input.count_only = request.count_only();
  input.include_bytes = request.include_bytes();
  return input;
}

absl::StatusOr<std::vector<engine::TokenId>> FromProto(const v1::DetokenizeRequest& request, int vocab,
                                                       int64_t max_tokens) {
  SLIMFILL_RETURN_IF_ERROR(CheckRange<int64_t>("ids (count)", request.ids_size(), 0, max_tokens));
  for (int i = 0; i < request.ids_size(); ++i) {
    SLIMFILL_RETURN_IF_ERROR(CheckToken("ids", i, request.ids(i), vocab));
  }
  return std::vector<engine::TokenId>(request.ids().begin(), request.ids().end());
}

v1::Admitted ToProto(const scheduler::Admission& admission, int64_t prompt_tokens) {
  v1::Admitted out;
  out.set_request_id(admission.id);
  out.set_prompt_tokens(prompt_tokens);
  out.set_queue_position(admission.queue_position);
  if (admission.predicted_ttft != absl::InfiniteDuration()) {
    out.set_predicted_ttft_ms(Milliseconds(admission.predicted_ttft));
  }
  return out;
}

v1::Progress ToProto(const scheduler::Progress& progress, int64_t cached_tokens) {
  v1::Progress out;
  out.set_stage(progress.stage);
  out.set_stages(progress.stages);
  out.set_fraction_done(progress.fraction_done);
  out.set_tokens_done(progress.tokens_done);
  out.set_tokens_total(progress.tokens_total);
  out.set_cached_tokens(cached_tokens);
  return out;
}

v1::Token ToProto(const engine::TokenEvent& token, const engine::Tokenizer& tokenizer) {
  v1::Token out;
  out.set_text(token.text);
  out.set_token_id(token.token);
  if (token.logprob.has_value()) out.set_logprob(*token.logprob);
  for (const engine::TokenLogprob& top : token.top_logprobs) {
    v1::TokenLogprob& entry = *out.add_top_logprobs();
    entry.set_token_id(top.token);
    const absl::string_view bytes = tokenizer.TokenBytes(top.token, /*keep_special=*/true);
    entry.set_token_bytes(bytes.data(), bytes.size());
    entry.set_logprob(top.logprob);
  }
  return out;
}

v1::Finished ToProto(const scheduler::Finished& finished, uint64_t seed) {
  v1::Finished out;
  out.set_reason(Reason(finished.reason));
  out.mutable_usage()->set_prompt_tokens(finished.prompt_tokens);
  out.mutable_usage()->set_cached_tokens(finished.cached_tokens);
  out.mutable_usage()->set_output_tokens(finished.output_tokens);
  v1::Timings& timings = *out.mutable_timings();
  timings.set_queue_ms(Milliseconds(finished.timings.queue));
  timings.set_prefill_ms(Milliseconds(finished.timings.prefill));
  timings.set_ttft_ms(Milliseconds(finished.timings.ttft));
  timings.set_mean_inter_token_ms(Milliseconds(finished.timings.mean_inter_token));
  timings.set_total_ms(Milliseconds(finished.timings.total));
  FillPrefill(finished.prefill, out);
  if (finished.dense_equivalent_ttft.has_value()) {
    out.mutable_dense_equivalent()->set_ttft_ms(Milliseconds(*finished.dense_equivalent_ttft));
    out.mutable_dense_equivalent()->set_method("model");
    out.mutable_dense_equivalent()->set_error_ratio(finished.dense_equivalent_error);
  }
  out.mutable_decode()->set_swaps(finished.decode.swaps);
  out.mutable_decode()->set_missed_swaps(finished.decode.missed_swaps);
  out.mutable_decode()->set_stall_ms(finished.decode.stall_seconds * 1e3);
  out.set_seed(seed);
  return out;
}

v1::GetModelResponse ToProto(const engine::EngineInfo& info) {
  v1::GetModelResponse out;
  out.set_name(info.model.name);
  out.set_file(std::filesystem::path(info.model_file).filename().string());
  out.set_sha256(info.model_sha256);
  out.set_architecture(engine::ArchitectureName(info.model.architecture));
  out.set_layers(info.model.layers);
  out.set_hidden(info.model.hidden);
  out.set_heads(info.model.heads);
  out.set_kv_heads(info.model.kv_heads);
  out.set_vocab(info.model.vocab);
  out.set_trained_context(info.model.context);
  out.set_max_context(info.max_context);
  out.set_chat_format(info.chat_format);
  out.set_backend(info.backend_name);
  out.set_backend_description(info.backend);
  out.set_plan_name(info.plan_name);
  out.set_plan_json(info.plan_json);
  out.set_chunk_tokens(info.chunk_tokens);
  return out;
}

}  // namespace slimfill::server
