#include "kvstore/l2/cluster_map.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/time/clock.h"
#include "base/logging.h"
#include "base/metric_names.h"

namespace slimfill::kvstore {
namespace {

constexpr size_t kMaxNodes = 2000;  // twice what a cluster has: some may be leaving
constexpr absl::Duration kProbeInterval = absl::Milliseconds(250);

}  // namespace

ClusterMap::ClusterMap(const L2Address& address, const RedisAccess& access, const ClusterMapOptions& options,
                       const Clock& clock, Metrics* metrics)
    : address_(address), access_(access), options_(options), clock_(clock), metrics_(metrics) {
  SetGauges();
  keeper_ = std::thread([this] { Run(); });
}

ClusterMap::~ClusterMap() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  keeper_.join();
}

absl::StatusOr<std::shared_ptr<const ClusterMap::Topology>> ClusterMap::Await(absl::Time system_deadline) {
  absl::MutexLock lock(&mutex_);
  auto tried = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return tried_; };
  if (!mutex_.AwaitWithDeadline(absl::Condition(&tried), system_deadline)) {
    return absl::DeadlineExceededError("the L2's map of slots has not arrived in time");
  }
  if (topology_ == nullptr) return status_;
  return topology_;
}

std::shared_ptr<RedisNode> ClusterMap::NodeAt(const ListenAddress& address) {
  absl::MutexLock lock(&mutex_);
  return NodeLocked(address);
}

std::shared_ptr<RedisNode> ClusterMap::NodeLocked(const ListenAddress& address) {
  const std::string name = FormatListenAddress(address);
  if (const auto found = nodes_.find(name); found != nodes_.end()) return found->second;
  if (nodes_.size() >= kMaxNodes) return nullptr;
  auto node = std::make_shared<RedisNode>(address, access_, options_.breaker, clock_,
                                          [this, address](bool up) { NodeChanged(address, up); });
  nodes_.emplace(name, node);
  return node;
}

void ClusterMap::WantRenewal() {
  absl::MutexLock lock(&mutex_);
  wanted_ = true;
}

void ClusterMap::Run() {
  while (AwaitWork()) {
    ProbeNodes();
    Renew();
  }
}

bool ClusterMap::AwaitWork() {
  absl::MutexLock lock(&mutex_);
  auto stopping = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_; };
  auto needed = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || wanted_; };
  const bool all_up = std::all_of(nodes_.begin(), nodes_.end(), [](const auto& entry) { return entry.second->up(); });
  mutex_.AwaitWithTimeout(absl::Condition(&needed), all_up ? options_.interval : kProbeInterval);
  if (tried_) mutex_.AwaitWithTimeout(absl::Condition(&stopping), options_.min_interval);
  wanted_ = false;
  return !stop_;
}

void ClusterMap::ProbeNodes() {
  std::vector<std::shared_ptr<RedisNode>> down;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, node] : nodes_) {
      if (!node->up()) down.push_back(node);
    }
  }
  for (const std::shared_ptr<RedisNode>& node : down) {
    const CircuitBreaker::Pass pass = node->breaker().TryEnter();
    if (pass == CircuitBreaker::Pass::kRefused) continue;
    node->Report(pass, FetchSlotMap(*node, absl::Now() + options_.reply_time).status());
  }
}

std::vector<std::shared_ptr<RedisNode>> ClusterMap::Sources() {
  std::vector<std::shared_ptr<RedisNode>> sources;
  absl::MutexLock lock(&mutex_);
  for (const auto& [name, node] : nodes_) {
    if (node->up()) sources.push_back(node);
  }
  for (const ListenAddress& seed : address_.seeds) {
    std::shared_ptr<RedisNode> node = NodeLocked(seed);
    if (node != nullptr && std::find(sources.begin(), sources.end(), node) == sources.end()) {
      sources.push_back(std::move(node));
    }
  }
  return sources;
}

void ClusterMap::Renew() {
  absl::Status status;
  for (const std::shared_ptr<RedisNode>& node : Sources()) {
    const absl::StatusOr<SlotMap> map = FetchSlotMap(*node, absl::Now() + options_.reply_time);
    status = map.status();
    if (map.ok()) {
      Take(*map);
      SetGauges();  // before anybody who waits for the map goes on
      break;
    }
    absl::MutexLock lock(&mutex_);
    if (stop_) return;
  }
  SetStatus(status);
}

void ClusterMap::Take(const SlotMap& map) {
  auto topology = std::make_shared<Topology>();
  topology->owner = map.owner;
  absl::MutexLock lock(&mutex_);
  absl::flat_hash_set<std::string> names;
  for (const ListenAddress& master : map.masters) names.insert(FormatListenAddress(master));
  for (const ListenAddress& seed : address_.seeds) names.insert(FormatListenAddress(seed));
  // Calls under way hold a node as long as they need it.
  absl::erase_if(nodes_, [&names](const auto& entry) { return !names.contains(entry.first); });
  for (const ListenAddress& master : map.masters) topology->masters.push_back(NodeLocked(master));
  topology_ = std::move(topology);
}

void ClusterMap::SetStatus(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  const bool first = !std::exchange(tried_, true);
  if (!status.ok() && (first || status_.ok())) {
    spdlog::warn("the L2 cannot be reached, its blocks count as misses address={} error=\"{}\"",
                 FormatL2Address(address_), std::string(status.message()));
  } else if (status.ok() && (first || !status_.ok())) {
    spdlog::info("the L2 is reached address={} nodes={}", FormatL2Address(address_), topology_->masters.size());
  }
  status_ = status;
  wanted_ = wanted_ || topology_ == nullptr;
}

void ClusterMap::NodeChanged(const ListenAddress& address, bool up) {
  if (up) {
    spdlog::info("a node of the L2 is back address={}", FormatListenAddress(address));
  } else {
    spdlog::warn("a node of the L2 fails, its blocks count as misses address={}", FormatListenAddress(address));
  }
  WantRenewal();
  SetGauges();
}

void ClusterMap::SetGauges() {
  if (metrics_ == nullptr) return;
  absl::MutexLock lock(&mutex_);
  size_t up = 0, all = address_.seeds.size();
  if (topology_ != nullptr) {
    all = topology_->masters.size();
    for (const std::shared_ptr<RedisNode>& node : topology_->masters) up += node->up() ? 1 : 0;
  }
  metrics_->Set(metric::kKvL2Nodes, static_cast<double>(up), {"up"});
  metrics_->Set(metric::kKvL2Nodes, static_cast<double>(all - up), {"down"});
}

}  // namespace slimfill::kvstore
