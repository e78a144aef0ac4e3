// Metrics: a typed catalogue (base/metric_names.h) over prometheus-cpp. Components take a Metrics& and name a metric by
// its constant, so a misspelt name does not compile and every metric has one definition of help text, labels and
// buckets.
#pragma once

#include <array>
#include <initializer_list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "prometheus/registry.h"

namespace slimfill {

enum class MetricType { kCounter, kGauge, kHistogram };
enum class MetricBuckets { kNone, kRequestSeconds, kShortSeconds, kRatio };

struct MetricDef {
  MetricType type;
  const char* name;  // full name as scraped, "slimfill_..."
  const char* help;
  std::array<const char*, 3> labels = {};  // label names in order; unused ones null
  MetricBuckets buckets = MetricBuckets::kNone;
};

// Label values in the order of MetricDef::labels. Only bounded sets: never a prompt, a tenant or a caller's id.
using MetricLabels = std::initializer_list<absl::string_view>;

// Thread safe. Every call costs one hash look-up under a mutex: fine per request, chunk or token, not per element.
class Metrics {
 public:
  Metrics();
  ~Metrics();

  void Add(const MetricDef& counter, MetricLabels labels = {}, double value = 1);  // counters
  void Set(const MetricDef& gauge, double value, MetricLabels labels = {});        // gauges
  void AddGauge(const MetricDef& gauge, double delta, MetricLabels labels = {});   // gauges, up and down
  void Remove(const MetricDef& gauge, MetricLabels labels = {});                   // gauge without a value: not scraped
  void Observe(const MetricDef& histogram, double value, MetricLabels labels = {});  // histograms

  // Value now (a histogram's sample count). For tests and status pages; 0 when never touched.
  double Value(const MetricDef& metric, MetricLabels labels = {}) const;

  std::string ScrapeText() const;  // Prometheus text format
  std::shared_ptr<prometheus::Registry> registry() const { return registry_; }

 private:
  struct Series;
  Series& Find(const MetricDef& metric, MetricLabels labels);

  std::shared_ptr<prometheus::Registry> registry_;
  mutable absl::Mutex mutex_;
  std::unordered_map<std::string, std::unique_ptr<Series>> series_ ABSL_GUARDED_BY(mutex_);
};

// Serves Metrics over HTTP at http://address/metrics until destroyed.
class MetricsExposer {
 public:
  // `address` is host:port; port 0 picks a free one. UNAVAILABLE with the remedy when it cannot listen.
  static absl::StatusOr<std::unique_ptr<MetricsExposer>> Start(const std::string& address, const Metrics& metrics);
  ~MetricsExposer();
  int port() const;

 private:
  struct Impl;
  explicit MetricsExposer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slimfill
