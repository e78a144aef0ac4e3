#include "kvstore/client/grpc_kv_store.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/listen_address.h"
#include "base/metric_names.h"
#include "base/status.h"
#include "grpcpp/grpcpp.h"
#include "kvstore/api/transfer_metrics.h"
#include "kvstore/client/fetch_assembler.h"
#include "kvstore/client/fetch_wire.h"
#include "kvstore/client/pending_releases.h"
#include "kvstore/client/put_messages.h"
#include "kvstore/client/raw_stream.h"
#include "slimfill/v1/kvstore.grpc.pb.h"

namespace slimfill::kvstore {
namespace {

constexpr char kFetchMethod[] = "/slimfill.v1.KvStoreService/Fetch";
constexpr char kPutMethod[] = "/slimfill.v1.KvStoreService/Put";
constexpr int kMaxReceiveBytes = 8 << 20;  // no message of the store is larger
constexpr uint32_t kMinMessageBytes = 4 << 10;
constexpr uint32_t kMaxMessageBytes = 3 << 20;             // the store takes messages of 4 MiB
constexpr absl::Duration kMaxCallTime = absl::Minutes(4);  // the store refuses streams that may stay open for longer
constexpr absl::Duration kProbeConnectTime = absl::Milliseconds(100);
constexpr int kMinReconnectMs = 100;
constexpr int kMaxReconnectMs = 1000;

std::shared_ptr<grpc::ChannelCredentials> Credentials(const std::optional<MutualTls>& tls) {
  if (!tls.has_value()) return grpc::InsecureChannelCredentials();
  return grpc::SslCredentials(
      {.pem_root_certs = tls->peer_ca, .pem_private_key = tls->key, .pem_cert_chain = tls->certificate});
}

std::shared_ptr<grpc::Channel> Connect(const std::string& address, const std::optional<MutualTls>& tls) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxReceiveBytes);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kMinReconnectMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kMinReconnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectMs);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // its state is ours alone
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);          // blocks go to the store and nowhere else
  return grpc::CreateCustomChannel(address, Credentials(tls), arguments);
}

// What a call's status says about the store itself: a refusal is the answer of a healthy one.
CircuitBreaker::Outcome OutcomeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kDeadlineExceeded:
      return CircuitBreaker::Outcome::kDeadlineMissed;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnimplemented:  // something else answers at the address
    case absl::StatusCode::kDataLoss:
      return CircuitBreaker::Outcome::kFailure;
    default:
      return CircuitBreaker::Outcome::kSuccess;
  }
}

std::string KeyBytes(const BlockKey& key) {
  return std::string(reinterpret_cast<const char*>(key.bytes.data()), key.bytes.size());
}

absl::Status BadAnswer(absl::string_view what) {
  return absl::InternalError(absl::StrCat("the KV store's answer makes no sense: ", what));
}

// While a message is on its way the next one is made.
grpc::Status SendAll(PutMessages& messages, RawStream& stream, v1::PutResponse* response) {
  grpc::ByteBuffer message;
  for (bool first = true; messages.Next(&message); first = false) {
    if (!first && !stream.Wait()) break;
    if (messages.done()) {
      stream.StartWriteLast(message);
    } else {
      stream.StartWrite(message);
    }
  }
  stream.Wait();
  stream.StartRead(&message);
  if (stream.Wait()) grpc::SerializationTraits<v1::PutResponse>::Deserialize(&message, response);
  return stream.Finish();
}

// While a message is used the next one may come: its read is under way already. When what the store says makes no sense
// the call is cancelled.
absl::Status ReceiveAll(grpc::ClientContext& context, RawStream& stream, FetchAssembler& assembler) {
  grpc::ByteBuffer message, next;
  stream.StartRead(&next);
  while (stream.Wait()) {
    message.Swap(&next);
    next.Clear();
    stream.StartRead(&next);
    const absl::Status status = ReadFetchResponse(message, assembler);
    if (status.ok()) continue;
    context.TryCancel();
    stream.Wait();  // for the read into `next`
    return status;
  }
  return absl::OkStatus();
}

absl::Status CheckOptions(const GrpcStoreOptions& options) {
  if (options.message_bytes < kMinMessageBytes || options.message_bytes > kMaxMessageBytes) {
    return absl::InvalidArgumentError(absl::StrCat("message_bytes is ", options.message_bytes, ": choose ",
                                                   kMinMessageBytes, " to ", kMaxMessageBytes));
  }
  if (options.max_call_time <= absl::ZeroDuration() || options.max_call_time > kMaxCallTime) {
    return absl::InvalidArgumentError(absl::StrCat("max_call_time is ", absl::FormatDuration(options.max_call_time),
                                                   ": choose more than 0 and at most ",
                                                   absl::FormatDuration(kMaxCallTime)));
  }
  return absl::OkStatus();
}

}  // namespace

struct GrpcKvStore::Impl {
  Impl(const std::string& address, const GrpcStoreOptions& options, const Clock& clock, Metrics* metrics)
      : address(address),
        options(options),
        clock(clock),
        metrics(metrics),
        breaker(options.breaker, clock, [this](bool closed) { SetUp(closed); }),
        channel(Connect(address, options.tls)),
        stub(v1::KvStoreService::NewStub(channel)),
        generic_stub(channel),
        releases(options.max_pending_releases) {
    SetUp(true);
  }

  void SetUp(bool up) {
    if (metrics != nullptr) metrics->Set(metric::kKvStoreUp, up ? 1 : 0);
  }

  absl::Status FromGrpc(const grpc::Status& status) const {
    if (status.ok()) return absl::OkStatus();
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                        absl::StrCat("KV store at ", address, ": ", status.error_message()));
  }

  // Runs `call` (ClientContext& -> absl::Status) behind the breaker and with the deadline, and counts what fails.
  template <typename Call>
  absl::Status Run(const char* operation, absl::Time deadline, const Call& call) {
    const absl::Status status = RunUncounted(deadline, call);
    if (!status.ok()) CountErrors(operation, 1);
    return status;
  }

  template <typename Call>
  absl::Status RunUncounted(absl::Time deadline, const Call& call) {
    const absl::Duration time = std::min(deadline - clock.Now(), options.max_call_time);
    if (time <= absl::ZeroDuration()) return DeadlineExpired();
    const CircuitBreaker::Pass pass = breaker.TryEnter();
    if (pass == CircuitBreaker::Pass::kRefused) {
      return absl::UnavailableError(absl::StrCat("KV store at ", address,
                                                 " failed repeatedly and is left alone for now: it is tried again "
                                                 "by itself within ",
                                                 absl::FormatDuration(options.breaker.max_backoff)));
    }
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMicroseconds(time));
    if (pass == CircuitBreaker::Pass::kProbe) Reconnect(time);
    const absl::Status status = call(context);
    breaker.Report(pass, OutcomeOf(status));
    return status;
  }

  // A probe must reach the store, not the channel's own pause between connection attempts: connect now. A channel fails
  // calls until it is connected, so the probe gives it a moment.
  void Reconnect(absl::Duration time) {
    grpc::experimental::ChannelResetConnectionBackoff(channel.get());
    channel->WaitForConnected(std::chrono::system_clock::now() +
                              absl::ToChronoMicroseconds(std::min(time, kProbeConnectTime)));
  }

  void CountErrors(const char* operation, int count) {
    if (metrics != nullptr && count > 0) metrics->Add(metric::kKvStoreErrors, {operation}, count);
  }

  const std::string address;
  std::atomic<uint64_t> session{0};
  const GrpcStoreOptions options;
  const Clock& clock;
  Metrics* const metrics;
  CircuitBreaker breaker;
  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::KvStoreService::Stub> stub;
  grpc::GenericStub generic_stub;
  PendingReleases releases;  // last: it waits for calls that use the others
};

GrpcKvStore::GrpcKvStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcKvStore::~GrpcKvStore() = default;

absl::StatusOr<std::unique_ptr<GrpcKvStore>> GrpcKvStore::Create(const std::string& address,
                                                                 const GrpcStoreOptions& options, const Clock& clock,
                                                                 Metrics* metrics) {
  SLIMFILL_ASSIGN_OR_RETURN(const ListenAddress parsed, ParseEndpoint(address));
  if (parsed.unix_path.empty() && parsed.port == 0) {
    return absl::InvalidArgumentError(absl::StrCat("KV store address '", address,
                                                   "' has port 0: give the port that "
                                                   "slimfill-kvstore printed when it started"));
  }
  SLIMFILL_RETURN_IF_ERROR(CheckOptions(options));
  // Without a matching shutdown: gRPC 1.51 may wait 10 s for its own backup poller when its last user goes.
  grpc_init();
  return std::unique_ptr<GrpcKvStore>(
      new GrpcKvStore(std::make_unique<Impl>(FormatListenAddress(parsed), options, clock, metrics)));
}

absl::StatusOr<PrefixMatch> GrpcKvStore::MatchPrefix(absl::Span<const BlockKey> keys, absl::Time deadline) {
  SLIMFILL_RETURN_IF_ERROR(CheckKeys(keys.size(), impl_->options.limits));
  if (keys.empty()) return PrefixMatch{};
  v1::MatchPrefixRequest request;
  for (const BlockKey& key : keys) request.add_keys(KeyBytes(key));
  request.set_session(impl_->session);
  PrefixMatch match;
  SLIMFILL_RETURN_IF_ERROR(impl_->Run("match_prefix", deadline, [&](grpc::ClientContext& context) -> absl::Status {
    v1::MatchPrefixResponse response;
    SLIMFILL_RETURN_IF_ERROR(impl_->FromGrpc(impl_->stub->MatchPrefix(&context, request, &response)));
    if (response.blocks() > keys.size() || (response.blocks() > 0) != (response.lease() != 0)) {
      return BadAnswer(absl::StrCat(response.blocks(), " blocks of ", keys.size(), " matched"));
    }
    match = {.blocks = response.blocks(), .lease = response.lease()};
    return absl::OkStatus();
  }));
  return match;
}

absl::StatusOr<LeaseId> GrpcKvStore::OpenPrivate(absl::Time deadline) {
  v1::OpenPrivateRequest request;
  request.set_session(impl_->session);
  v1::OpenPrivateResponse response;
  SLIMFILL_RETURN_IF_ERROR(impl_->Run("open_private", deadline, [&](grpc::ClientContext& context) -> absl::Status {
    SLIMFILL_RETURN_IF_ERROR(impl_->FromGrpc(impl_->stub->OpenPrivate(&context, request, &response)));
    return response.lease() != 0 ? absl::OkStatus() : BadAnswer("the new lease is none");
  }));
  return response.lease();
}

absl::StatusOr<std::vector<absl::Status>> GrpcKvStore::Put(absl::Span<const PutItem> items, LeaseId lease,
                                                           absl::Time deadline) {
  SLIMFILL_RETURN_IF_ERROR(CheckPut(items, impl_->options.limits));
  if (items.empty()) return std::vector<absl::Status>();
  const absl::Time start = impl_->clock.Now();
  v1::PutResponse response;
  SLIMFILL_RETURN_IF_ERROR(impl_->Run("put", deadline, [&](grpc::ClientContext& context) -> absl::Status {
    PutMessages messages(items, lease, impl_->options.message_bytes);
    RawStream stream(impl_->generic_stub, context, kPutMethod);
    SLIMFILL_RETURN_IF_ERROR(impl_->FromGrpc(SendAll(messages, stream, &response)));
    if (static_cast<size_t>(response.statuses_size()) == items.size()) return absl::OkStatus();
    return BadAnswer(absl::StrCat(response.statuses_size(), " statuses for ", items.size(), " blocks"));
  }));
  std::vector<absl::Status> statuses;
  uint64_t bytes = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const v1::ItemStatus& status = response.statuses(static_cast<int>(i));
    statuses.emplace_back(static_cast<absl::StatusCode>(status.code()), status.message());
    if (statuses.back().ok()) bytes += ValueBytes(items[i]);
  }
  RecordTransfer(impl_->metrics, "put", path(), bytes, impl_->clock.Now() - start);
  return statuses;
}

absl::StatusOr<std::vector<absl::Status>> GrpcKvStore::Fetch(absl::Span<const FetchItem> items, LeaseId lease,
                                                             absl::Time deadline) {
  SLIMFILL_RETURN_IF_ERROR(CheckFetch(items, impl_->options.limits));
  if (items.empty()) return std::vector<absl::Status>();
  SLIMFILL_ASSIGN_OR_RETURN(std::vector<absl::Status> statuses, FetchOnce(items, lease, /*verify=*/false, deadline));
  std::vector<FetchItem> wrong;
  for (size_t i = 0; i < items.size(); ++i) {
    if (absl::IsDataLoss(statuses[i])) wrong.push_back(items[i]);
  }
  if (wrong.empty()) return statuses;
  const absl::StatusOr<std::vector<absl::Status>> again = FetchOnce(wrong, lease, /*verify=*/true, deadline);
  if (!again.ok()) return statuses;
  size_t next = 0;
  for (absl::Status& status : statuses) {
    if (absl::IsDataLoss(status)) status = (*again)[next++];
  }
  return statuses;
}

absl::StatusOr<std::vector<absl::Status>> GrpcKvStore::FetchOnce(absl::Span<const FetchItem> items, LeaseId lease,
                                                                 bool verify, absl::Time deadline) {
  const absl::Time start = impl_->clock.Now();
  v1::FetchRequest request;
  request.set_lease(lease);
  request.set_verify(verify);
  request.set_max_message_bytes(impl_->options.message_bytes);
  for (const FetchItem& item : items) {
    v1::FetchRange* range = request.add_ranges();
    range->set_key(KeyBytes(item.key));
    range->set_offset(item.offset);
    range->set_length(item.destination.size());
  }
  FetchAssembler assembler(items);
  const absl::Status status = impl_->Run("fetch", deadline, [&](grpc::ClientContext& context) -> absl::Status {
    RawStream stream(impl_->generic_stub, context, kFetchMethod);
    const grpc::Slice asked(request.SerializeAsString());
    stream.StartWriteLast(grpc::ByteBuffer(&asked, 1));
    stream.Wait();
    const absl::Status received = ReceiveAll(context, stream, assembler);
    const grpc::Status finished = stream.Finish();
    SLIMFILL_RETURN_IF_ERROR(received);
    SLIMFILL_RETURN_IF_ERROR(impl_->FromGrpc(finished));
    return assembler.CheckComplete();
  });
  RecordTransfer(impl_->metrics, "fetch", path(), assembler.received_bytes(), impl_->clock.Now() - start);
  if (!status.ok() && !assembler.anything_settled()) return status;
  return assembler.Finish(status);
}

absl::Status GrpcKvStore::Renew(LeaseId lease, absl::Time deadline) {
  return impl_->Run("renew", deadline, [&](grpc::ClientContext& context) {
    v1::RenewRequest request;
    request.set_lease(lease);
    v1::RenewResponse response;
    return impl_->FromGrpc(impl_->stub->Renew(&context, request, &response));
  });
}

void GrpcKvStore::Release(LeaseId lease) {
  // While the store is away its leases run out by themselves.
  if (lease == 0 || !impl_->breaker.closed()) return;
  impl_->releases.Start(*impl_->stub, lease, impl_->options.release_time, [this](const grpc::Status& grpc_status) {
    const absl::Status status = impl_->FromGrpc(grpc_status);
    impl_->breaker.Report(CircuitBreaker::Pass::kCall, OutcomeOf(status));
    if (!status.ok()) impl_->CountErrors("release", 1);
  });
}

absl::StatusOr<GrpcKvStore::AttachGrant> GrpcKvStore::Attach(absl::Time deadline) {
  v1::AttachResponse response;
  SLIMFILL_RETURN_IF_ERROR(impl_->RunUncounted(deadline, [&](grpc::ClientContext& context) {
    return impl_->FromGrpc(impl_->stub->Attach(&context, {}, &response));
  }));
  return AttachGrant{.token = response.token(), .session = response.session()};
}

void GrpcKvStore::set_session(uint64_t session) { impl_->session = session; }

const KvLimits& GrpcKvStore::limits() const { return impl_->options.limits; }

absl::StatusOr<StoreStats> GrpcKvStore::Stats(absl::Time deadline) {
  v1::StatsResponse response;
  SLIMFILL_RETURN_IF_ERROR(impl_->Run("stats", deadline, [&](grpc::ClientContext& context) {
    return impl_->FromGrpc(impl_->stub->Stats(&context, {}, &response));
  }));
  return StoreStats{.bytes_used = response.bytes_used(),
                    .bytes_limit = response.bytes_limit(),
                    .blocks = response.blocks(),
                    .leases = response.leases(),
                    .evictions = response.evictions(),
                    .hits = response.hits(),
                    .misses = response.misses(),
                    .puts = response.puts(),
                    .puts_refused = response.puts_refused()};
}

}  // namespace slimfill::kvstore
