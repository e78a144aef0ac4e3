// Every metric that slimfill exports. Labels are bounded sets.
#pragma once

#include "base/metrics.h"

namespace slimfill::metric {

inline constexpr auto kCounter = MetricType::kCounter;
inline constexpr auto kGauge = MetricType::kGauge;
inline constexpr auto kHistogram = MetricType::kHistogram;
inline constexpr auto kRequestSeconds = MetricBuckets::kRequestSeconds;
inline constexpr auto kShortSeconds = MetricBuckets::kShortSeconds;
inline constexpr auto kRatio = MetricBuckets::kRatio;

// Requests.
inline constexpr MetricDef kRequests{kCounter, "slimfill_requests_total", "Finished RPCs", {"method", "code"}};
inline constexpr MetricDef kRequestsRunning{kGauge, "slimfill_requests_running", "Requests in prefill or decode"};
inline constexpr MetricDef kRequestsWaiting{kGauge, "slimfill_requests_waiting", "Requests in the queue"};
inline constexpr MetricDef kQueuedPromptTokens{kGauge, "slimfill_queued_prompt_tokens",
                                               "Prompt tokens waiting for prefill; the autoscaling signal"};
inline constexpr MetricDef kAdmissionRejections{
    kCounter, "slimfill_admission_rejections_total", "Requests refused at admission", {"reason"}};
inline constexpr MetricDef kCancellations{
    kCounter, "slimfill_cancellations_total", "Requests ended by the client or a deadline", {"phase"}};

// Latency. prompt_bucket: le_1k, le_4k, le_16k, le_64k, gt_64k. mode: pruned, dense, hot.
inline constexpr MetricDef kTtft{kHistogram,
                                 "slimfill_time_to_first_token_seconds",
                                 "From arrival to the first token",
                                 {"prompt_bucket", "mode"},
                                 kRequestSeconds};
inline constexpr MetricDef kQueueSeconds{
    kHistogram, "slimfill_queue_seconds", "From arrival to the first chunk", {}, kRequestSeconds};
inline constexpr MetricDef kPrefillSeconds{
    kHistogram, "slimfill_prefill_seconds", "Compute time of a prefill stage", {"stage"}, kRequestSeconds};
inline constexpr MetricDef kInterToken{
    kHistogram, "slimfill_inter_token_seconds", "Between tokens of one request", {}, kShortSeconds};
inline constexpr MetricDef kEndToEnd{
    kHistogram, "slimfill_e2e_seconds", "From arrival to the last token", {}, kRequestSeconds};

// Tokens and pruning.
inline constexpr MetricDef kPromptTokens{
    kCounter, "slimfill_prompt_tokens_total", "Prompt tokens by how stage 1 got them", {"source"}};  // computed, cached
inline constexpr MetricDef kGeneratedTokens{kCounter, "slimfill_generated_tokens_total", "Tokens generated"};
inline constexpr MetricDef kKeptRatio{
    kHistogram, "slimfill_kept_token_ratio", "Share of the prompt's tokens kept after a stage", {"stage"}, kRatio};
inline constexpr MetricDef kPruningFallback{
    kCounter, "slimfill_pruning_fallback_total", "Requests that pruned less than their plan says", {"reason"}};
// method: model, randomized. Prompts that were not pruned count as 1.0; hot ones do not count.
inline constexpr MetricDef kSpeedup{kGauge, "slimfill_ttft_speedup_ratio", "Dense over actual TTFT", {"method"}};
inline constexpr MetricDef kSpeedupLow{
    kGauge, "slimfill_ttft_speedup_low_ratio", "Lower end of the speedup's 95 % interval", {"method"}};
inline constexpr MetricDef kSpeedupHigh{
    kGauge, "slimfill_ttft_speedup_high_ratio", "Upper end of the speedup's 95 % interval", {"method"}};
inline constexpr MetricDef kCostModelError{kGauge, "slimfill_cost_model_mape_ratio",
                                           "Mean absolute relative error of predicted chunk times"};

// KV in the engine and its store. direction: put, fetch. path: embedded, grpc.
inline constexpr MetricDef kKvPagesUsed{kGauge, "slimfill_kv_pages_used", "KV pages reserved by sequences"};
inline constexpr MetricDef kKvPagesTotal{kGauge, "slimfill_kv_pages_total", "KV pages the engine may hold"};
inline constexpr MetricDef kKvStoreBytes{kGauge, "slimfill_kv_store_bytes", "Bytes in the KV store", {"state"}};
inline constexpr MetricDef kKvTransferBytes{
    kCounter, "slimfill_kv_transfer_bytes_total", "Bytes moved to and from the KV store", {"direction", "path"}};
inline constexpr MetricDef kKvTransferSeconds{kHistogram,
                                              "slimfill_kv_transfer_seconds",
                                              "One transfer to or from the KV store",
                                              {"direction", "path"},
                                              kShortSeconds};
inline constexpr MetricDef kKvStallSeconds{
    kHistogram, "slimfill_kv_stall_seconds", "Time that decode waited for blocks", {}, kShortSeconds};
inline constexpr MetricDef kKvSwaps{kCounter, "slimfill_kv_swap_total", "Decode swaps at prune layers", {"outcome"}};
inline constexpr MetricDef kKvHits{kCounter, "slimfill_kv_prefix_hit_blocks_total",
                                   "Prefix blocks found in the KV store"};
inline constexpr MetricDef kKvMisses{kCounter, "slimfill_kv_prefix_miss_blocks_total",
                                     "Prefix blocks not found in the KV store"};
inline constexpr MetricDef kDensifiedTokens{kCounter, "slimfill_densified_tokens_total",
                                            "Prompt tokens made hot in idle time: later requests do not run them"};
inline constexpr MetricDef kKvStoreErrors{kCounter,
                                          "slimfill_kv_store_errors_total",
                                          "KV store operations that failed; each is served as a miss",
                                          {"operation"}};
inline constexpr MetricDef kKvStoreUp{kGauge, "slimfill_kv_store_up",
                                      "1 when the KV store's circuit breaker is closed"};
inline constexpr MetricDef kKvLeases{kGauge, "slimfill_kv_leases", "Leases held in this KV store"};
inline constexpr MetricDef kKvEvictions{kCounter, "slimfill_kv_evictions_total", "Blocks evicted from this KV store"};
inline constexpr MetricDef kKvFetchHits{kCounter, "slimfill_kv_fetch_hits_total",
                                        "Fetched items that this KV store had"};
inline constexpr MetricDef kKvFetchMisses{kCounter, "slimfill_kv_fetch_misses_total",
                                          "Fetched items that this KV store did not have"};
inline constexpr MetricDef kKvPuts{kCounter, "slimfill_kv_puts_total", "Blocks that this KV store took in"};
inline constexpr MetricDef kKvPutsRefused{kCounter, "slimfill_kv_puts_refused_total",
                                          "Blocks that this KV store had no room for"};
inline constexpr MetricDef kKvCorruptBlocks{kCounter, "slimfill_kv_corrupt_blocks_total",
                                            "Blocks dropped because their checksum did not hold"};

// L2 behind the KV tier. operation: find, get, put.
inline constexpr MetricDef kKvL2Nodes{kGauge, "slimfill_kv_l2_nodes", "Nodes of the L2 by state: up, down", {"state"}};
inline constexpr MetricDef kKvL2Hits{kCounter, "slimfill_kv_l2_hit_blocks_total", "Blocks that came back from the L2"};
inline constexpr MetricDef kKvL2Misses{kCounter, "slimfill_kv_l2_miss_blocks_total",
                                       "Blocks that neither this KV store nor its L2 had"};
inline constexpr MetricDef kKvL2Skipped{kCounter,
                                        "slimfill_kv_l2_skipped_total",
                                        "Prefix lookups that were answered without asking the L2",
                                        {"reason"}};  // busy, no_time
inline constexpr MetricDef kKvL2Bytes{
    kCounter, "slimfill_kv_l2_bytes_total", "Bytes of blocks moved to and from the L2", {"operation"}};
inline constexpr MetricDef kKvL2Seconds{
    kHistogram, "slimfill_kv_l2_seconds", "One batch of an L2 operation", {"operation"}, kShortSeconds};
// reason: damaged, denied, full, other, timeout, unreachable.
inline constexpr MetricDef kKvL2Errors{kCounter,
                                       "slimfill_kv_l2_errors_total",
                                       "Blocks for which an L2 operation failed; each is served as a miss",
                                       {"operation", "reason"}};
inline constexpr MetricDef kKvL2Writes{kCounter,
                                       "slimfill_kv_l2_writes_total",
                                       "Blocks touched a second time, by what became of writing them to the L2",
                                       {"outcome"}};  // stored, queue_full, gone, refused, failed
inline constexpr MetricDef kKvL2Queue{kGauge, "slimfill_kv_l2_queue_blocks", "Blocks waiting to be written to the L2"};

// Process and build.
inline constexpr MetricDef kBuildInfo{kGauge, "slimfill_build_info", "1, with the version", {"version"}};
inline constexpr MetricDef kModelInfo{
    kGauge, "slimfill_model_info", "1, with the model and backend", {"model", "backend", "plan"}};

}  // namespace slimfill::metric
