#include "base/metrics.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "prometheus/counter.h"
#include "prometheus/exposer.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/text_serializer.h"

namespace slimfill {
namespace {

using Boundaries = prometheus::Histogram::BucketBoundaries;

// 1 ms to 2560 s, fine between 0.1 and 40 s where long prompts live.
const Boundaries kRequestSecondsBuckets = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.4,
                                           0.6,   1,     1.5,   2.5,  4,    6,    8,   10,   12.5, 16,
                                           20,    25,    32,    40,   64,   128,  320, 640,  1280, 2560};
const Boundaries kShortSecondsBuckets = {0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03,
                                         0.05,    0.075,   0.1,    0.15,   0.25,  0.5,   1,     2.5,  5,    10};
const Boundaries kRatioBuckets = {0.02, 0.05,  0.1, 0.125, 0.15, 0.1875, 0.2, 0.25,
                                  0.3,  0.375, 0.5, 0.625, 0.75, 0.875,  1};

Boundaries BucketsFor(MetricBuckets buckets) {
  switch (buckets) {
    case MetricBuckets::kRequestSeconds:
      return kRequestSecondsBuckets;
    case MetricBuckets::kShortSeconds:
      return kShortSecondsBuckets;
    case MetricBuckets::kRatio:
      return kRatioBuckets;
    case MetricBuckets::kNone:
      break;
  }
  return {};
}

std::string SeriesKey(const MetricDef& metric, MetricLabels labels) {
  std::string key = metric.name;
  for (absl::string_view label : labels) absl::StrAppend(&key, "\x1f", label);
  return key;
}

std::map<std::string, std::string> LabelMap(const MetricDef& metric, MetricLabels labels) {
  std::map<std::string, std::string> map;
  size_t i = 0;
  for (absl::string_view value : labels) {
    SLIMFILL_CHECK(i < metric.labels.size() && metric.labels[i] != nullptr);
    map[metric.labels[i++]] = std::string(value);
  }
  SLIMFILL_CHECK(i == metric.labels.size() || metric.labels[i] == nullptr);
  return map;
}

}  // namespace

struct Metrics::Series {
  prometheus::Counter* counter = nullptr;
  prometheus::Gauge* gauge = nullptr;
  prometheus::Family<prometheus::Gauge>* gauge_family = nullptr;
  prometheus::Histogram* histogram = nullptr;
};

Metrics::Metrics() : registry_(std::make_shared<prometheus::Registry>()) {}
Metrics::~Metrics() = default;

Metrics::Series& Metrics::Find(const MetricDef& metric, MetricLabels labels) {
  std::unique_ptr<Series>& series = series_[SeriesKey(metric, labels)];
  if (series != nullptr) return *series;
  series = std::make_unique<Series>();
  const auto label_map = LabelMap(metric, labels);
  switch (metric.type) {
    case MetricType::kCounter:
      series->counter =
          &prometheus::BuildCounter().Name(metric.name).Help(metric.help).Register(*registry_).Add(label_map);
      break;
    case MetricType::kGauge:
      series->gauge_family = &prometheus::BuildGauge().Name(metric.name).Help(metric.help).Register(*registry_);
      series->gauge = &series->gauge_family->Add(label_map);
      break;
    case MetricType::kHistogram:
      series->histogram = &prometheus::BuildHistogram()
                               .Name(metric.name)
                               .Help(metric.help)
                               .Register(*registry_)
                               .Add(label_map, BucketsFor(metric.buckets));
      break;
  }
  return *series;
}

void Metrics::Add(const MetricDef& counter, MetricLabels labels, double value) {
  SLIMFILL_CHECK(counter.type == MetricType::kCounter);
  absl::MutexLock lock(&mutex_);
  Find(counter, labels).counter->Increment(value);
}

void Metrics::Set(const MetricDef& gauge, double value, MetricLabels labels) {
  SLIMFILL_CHECK(gauge.type == MetricType::kGauge);
  absl::MutexLock lock(&mutex_);
  Find(gauge, labels).gauge->Set(value);
}

void Metrics::AddGauge(const MetricDef& gauge, double delta, MetricLabels labels) {
  SLIMFILL_CHECK(gauge.type == MetricType::kGauge);
  absl::MutexLock lock(&mutex_);
  Find(gauge, labels).gauge->Increment(delta);
}

void Metrics::Remove(const MetricDef& gauge, MetricLabels labels) {
  absl::MutexLock lock(&mutex_);
  const auto found = series_.find(SeriesKey(gauge, labels));
  if (found == series_.end()) return;
  found->second->gauge_family->Remove(found->second->gauge);
  series_.erase(found);
}

void Metrics::Observe(const MetricDef& histogram, double value, MetricLabels labels) {
  SLIMFILL_CHECK(histogram.type == MetricType::kHistogram);
  absl::MutexLock lock(&mutex_);
  Find(histogram, labels).histogram->Observe(value);
}

double Metrics::Value(const MetricDef& metric, MetricLabels labels) const {
  absl::MutexLock lock(&mutex_);
  const auto found = series_.find(SeriesKey(metric, labels));
  if (found == series_.end()) return 0;
  const Series& series = *found->second;
  if (series.counter != nullptr) return series.counter->Value();
  if (series.gauge != nullptr) return series.gauge->Value();
  return static_cast<double>(series.histogram->Collect().histogram.sample_count);
}

std::string Metrics::ScrapeText() const { return prometheus::TextSerializer().Serialize(registry_->Collect()); }

struct MetricsExposer::Impl {
  std::unique_ptr<prometheus::Exposer> exposer;
};

MetricsExposer::MetricsExposer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MetricsExposer::~MetricsExposer() = default;

absl::StatusOr<std::unique_ptr<MetricsExposer>> MetricsExposer::Start(const std::string& address,
                                                                      const Metrics& metrics) {
  try {
    auto impl = std::make_unique<Impl>();
    impl->exposer = std::make_unique<prometheus::Exposer>(address, /*num_threads=*/2);
    impl->exposer->RegisterCollectable(metrics.registry());
    return std::unique_ptr<MetricsExposer>(new MetricsExposer(std::move(impl)));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("cannot serve metrics on ", address, " (", error.what(),
                                               "): choose a free address with --metrics-listen"));
  }
}

int MetricsExposer::port() const { return impl_->exposer->GetListeningPorts().front(); }

}  // namespace slimfill
