#include "kvstore/l2/redis_cluster.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/metric_names.h"
#include "base/status.h"
#include "kvstore/api/block_key.h"
#include "kvstore/l2/node_exchange.h"

namespace slimfill::kvstore {
namespace {

constexpr int kMaxHops = 5;

const char* ReasonOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kDataLoss:
      return "damaged";
    case absl::StatusCode::kPermissionDenied:
      return "denied";
    case absl::StatusCode::kResourceExhausted:
      return "full";
    case absl::StatusCode::kDeadlineExceeded:
      return "timeout";
    case absl::StatusCode::kUnavailable:
      return "unreachable";
    default:
      return "other";
  }
}

void Finish(ChunkCommand& command, const absl::Status& status) {
  command.answer = ChunkCommand::Answer::kDone;
  command.status = status;
}

// An item is as good as the worst of its chunks.
std::vector<absl::Status> ItemStatuses(absl::Span<const ChunkCommand> commands, size_t items) {
  std::vector<absl::Status> statuses(items);
  for (const ChunkCommand& command : commands) statuses[command.item].Update(command.status);
  return statuses;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RedisCluster>> RedisCluster::Create(const RedisOptions& options, const Clock& clock,
                                                                   Metrics* metrics) {
  SLIMFILL_CHECK(!options.address.seeds.empty());
  std::unique_ptr<TlsClient> tls;
  if (options.address.tls) {
    SLIMFILL_ASSIGN_OR_RETURN(tls, TlsClient::Create(options.tls));
  }
  return std::unique_ptr<RedisCluster>(new RedisCluster(options, std::move(tls), clock, metrics));
}

RedisCluster::RedisCluster(const RedisOptions& options, std::unique_ptr<TlsClient> tls, const Clock& clock,
                           Metrics* metrics)
    : options_(options),
      tls_(std::move(tls)),
      access_{.user = options.user, .password = options.password, .tls = tls_.get()},
      sealer_(options.key),
      clock_(clock),
      metrics_(metrics),
      map_(options.address, access_, options.map, clock, metrics) {
  // There from the start, so that the first damage is an increase.
  if (metrics_ != nullptr) metrics_->Add(metric::kKvL2Errors, {"get", "damaged"}, 0);
}

RedisCluster::~RedisCluster() = default;

std::vector<absl::StatusOr<L2Entry>> RedisCluster::Find(absl::Span<const BlockKey> keys, absl::Time deadline) {
  const absl::Time start = absl::Now();
  std::vector<ChunkCommand> commands(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    commands[i].verb = ChunkVerb::kPeek;
    commands[i].item = i;
    commands[i].place.key = keys[i];
  }
  Run(commands, SystemDeadline(deadline));
  std::vector<absl::StatusOr<L2Entry>> entries;
  entries.reserve(keys.size());
  for (const ChunkCommand& command : commands) {
    entries.push_back(command.status.ok() ? sealer_.ReadEntry(command.header)
                                          : absl::StatusOr<L2Entry>(command.status));
  }
  Record("find", ItemStatuses(commands, keys.size()), 0, start);
  return entries;
}

std::vector<absl::Status> RedisCluster::Get(absl::Span<const L2Read> items, absl::Time deadline) {
  const absl::Time start = absl::Now();
  std::vector<ChunkCommand> commands;
  for (size_t i = 0; i < items.size(); ++i) {
    const L2Read& item = items[i];
    SLIMFILL_CHECK(item.entry.bytes > 0 && item.destination.size() == item.entry.bytes);
    for (uint32_t chunk = 0; chunk < ChunkCount(item.entry.bytes); ++chunk) {
      commands.push_back({.verb = ChunkVerb::kRead,
                          .item = i,
                          .place = {item.key, item.entry, chunk},
                          .into = item.destination.subspan(ChunkOffset(chunk), ChunkSize(item.entry.bytes, chunk))});
    }
  }
  Run(commands, SystemDeadline(deadline));
  std::vector<absl::Status> statuses = ItemStatuses(commands, items.size());
  uint64_t bytes = 0;
  for (size_t i = 0; i < items.size(); ++i) bytes += statuses[i].ok() ? items[i].entry.bytes : 0;
  Record("get", statuses, bytes, start);
  return statuses;
}

std::vector<absl::Status> RedisCluster::Put(absl::Span<const L2Write> items, absl::Time deadline) {
  const absl::Time start = absl::Now();
  std::vector<ChunkCommand> commands;
  for (size_t i = 0; i < items.size(); ++i) {
    const L2Write& item = items[i];
    SLIMFILL_CHECK(!item.value.empty());
    const L2Entry entry{
        .bytes = item.value.size(), .parent = item.parent, .tenant = item.tenant, .write_id = RandomNumber()};
    for (uint32_t chunk = 0; chunk < ChunkCount(entry.bytes); ++chunk) {
      commands.push_back({.verb = ChunkVerb::kWrite,
                          .item = i,
                          .place = {item.key, entry, chunk},
                          .from = item.value.subspan(ChunkOffset(chunk), ChunkSize(entry.bytes, chunk))});
    }
  }
  Run(commands, SystemDeadline(deadline));
  std::vector<absl::Status> statuses = ItemStatuses(commands, items.size());
  uint64_t bytes = 0;
  for (size_t i = 0; i < items.size(); ++i) bytes += statuses[i].ok() ? items[i].value.size() : 0;
  Record("put", statuses, bytes, start);
  return statuses;
}

// Sockets wait by the system's clock, whatever clock our callers count by.
absl::Time RedisCluster::SystemDeadline(absl::Time deadline) const {
  return absl::Now() + std::min(deadline - clock_.Now(), options_.max_call_time);
}

void RedisCluster::Run(std::vector<ChunkCommand>& commands, absl::Time system_deadline) {
  if (commands.empty()) return;
  const absl::StatusOr<std::shared_ptr<const ClusterMap::Topology>> topology = map_.Await(system_deadline);
  std::vector<ChunkCommand*> pending;
  for (ChunkCommand& command : commands) {
    if (!topology.ok()) {
      Finish(command, topology.status());
      continue;
    }
    // Any chunk's name would do: the tag decides.
    const int16_t owner = (*topology)->owner[HashSlot(ChunkName(command.place.key, 0))];
    if (owner == SlotMap::kNobody) {
      Finish(command, absl::UnavailableError("no node of the cluster holds the block's slot"));
      map_.WantRenewal();
      continue;
    }
    command.node = (*topology)->masters[owner];
    pending.push_back(&command);
  }
  while (!pending.empty()) {
    RunOnce(pending, system_deadline);
    std::erase_if(pending, [this](ChunkCommand* command) { return !Follow(*command); });
  }
}

void RedisCluster::RunOnce(const std::vector<ChunkCommand*>& commands, absl::Time system_deadline) {
  absl::flat_hash_map<RedisNode*, std::vector<ChunkCommand*>> by_node;
  for (ChunkCommand* command : commands) by_node[command->node.get()].push_back(command);

  struct Visit {
    RedisNode* node;
    CircuitBreaker::Pass pass;
    std::unique_ptr<NodeExchange> exchange;
  };
  std::vector<Visit> visits;
  std::vector<NodeExchange*> exchanges;
  const ExchangeSettings settings{sealer_, options_.ttl};
  for (auto& [node, of_node] : by_node) {
    const auto fail = [&of_node = of_node](const absl::Status& status) {
      for (ChunkCommand* command : of_node) Finish(*command, status);
    };
    // A node that was given up is tried again by the map's keeper, not at the cost of a call.
    const CircuitBreaker::Pass pass =
        node->breaker().closed() ? node->breaker().TryEnter() : CircuitBreaker::Pass::kRefused;
    if (pass == CircuitBreaker::Pass::kRefused) {
      fail(absl::UnavailableError(
          absl::StrCat("the L2's node ", FormatListenAddress(node->address()), " failed before and is left alone")));
      continue;
    }
    absl::StatusOr<std::unique_ptr<RedisConnection>> connection = node->Take();
    if (!connection.ok()) {
      node->Report(pass, connection.status());
      fail(connection.status());
      continue;
    }
    visits.push_back({node, pass, std::make_unique<NodeExchange>(*std::move(connection), of_node, settings)});
    exchanges.push_back(visits.back().exchange.get());
  }
  RunExchanges(exchanges, system_deadline);
  for (Visit& visit : visits) {
    visit.node->Report(visit.pass, visit.exchange->failure());
    if (visit.exchange->failure().ok()) visit.node->GiveBack(visit.exchange->TakeConnection());
  }
}

bool RedisCluster::Follow(ChunkCommand& command) {
  const ChunkCommand::Answer answer = std::exchange(command.answer, ChunkCommand::Answer::kNone);
  if (answer == ChunkCommand::Answer::kDone) {
    command.answer = answer;
    if (absl::IsUnavailable(command.status)) map_.WantRenewal();
    return false;
  }
  if (answer == ChunkCommand::Answer::kMoved) map_.WantRenewal();
  if (++command.hops > kMaxHops) {
    Finish(command, absl::UnavailableError(absl::StrCat("the L2's nodes redirected a command more than ", kMaxHops,
                                                        " times: they do not agree on the cluster's slots")));
    return false;
  }
  const absl::StatusOr<ListenAddress> address = ParseNodeAddress(command.moved_to, command.node->address());
  if (!address.ok()) {
    Finish(command, address.status());
    return false;
  }
  command.node = map_.NodeAt(*address);
  command.asking = answer == ChunkCommand::Answer::kAsk;
  if (command.node == nullptr) Finish(command, absl::UnavailableError("the L2 redirects to ever new nodes"));
  return command.node != nullptr;
}

void RedisCluster::Record(const char* operation, absl::Span<const absl::Status> statuses, uint64_t bytes,
                          absl::Time start) {
  if (metrics_ == nullptr || statuses.empty()) return;
  metrics_->Observe(metric::kKvL2Seconds, absl::ToDoubleSeconds(absl::Now() - start), {operation});
  if (bytes > 0) metrics_->Add(metric::kKvL2Bytes, {operation}, static_cast<double>(bytes));
  for (const absl::Status& status : statuses) {
    if (!status.ok() && !absl::IsNotFound(status)) metrics_->Add(metric::kKvL2Errors, {operation, ReasonOf(status)});
  }
}

}  // namespace slimfill::kvstore
