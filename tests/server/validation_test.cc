// Every field of every request, with every value that should not be there: the answer is OK or names the field, and the
// server goes on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "grpcpp/client_context.h"
#include "tests/server/test_server.h"

namespace slimfill::testing {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

template <typename T>
std::vector<T> Integers() {
  return {std::numeric_limits<T>::min(), static_cast<T>(-1), 0, 1, 1 << 20, std::numeric_limits<T>::max()};
}

template <typename T>
std::vector<T> Reals() {
  using Limits = std::numeric_limits<T>;
  return {Limits::quiet_NaN(),
          Limits::infinity(),
          -Limits::infinity(),
          Limits::lowest(),
          Limits::max(),
          Limits::denorm_min(),
          -1,
          0,
          0.5};
}

std::vector<std::string> Strings() {
  return {"", std::string(1, '\0'), "a", "\xEF\xBF\xBD", std::string(5000, 'x'), "<|im_end|>", "../../etc/passwd"};
}

// Calls `check` for each variant of `root` in which one field, at any depth, has one nasty value. `message` is a part
// of `root`.
class Mutator {
 public:
  Mutator(Message& root, std::function<void(const std::string& field)> check) : root_(root), check_(std::move(check)) {}

  void Run() { Visit(root_, ""); }

 private:
  void Visit(Message& message, const std::string& prefix) {
    const auto* descriptor = message.GetDescriptor();
    for (int i = 0; i < descriptor->field_count(); ++i) {
      const FieldDescriptor* field = descriptor->field(i);
      const std::string path = prefix + field->name();
      auto saved = std::unique_ptr<Message>(message.New());
      saved->CopyFrom(message);
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        VisitPart(message, field, path);
      } else {
        SetEach(message, field, path);
      }
      message.CopyFrom(*saved);
    }
  }

  void VisitPart(Message& message, const FieldDescriptor* field, const std::string& path) {
    const auto* reflection = message.GetReflection();
    Message* part =
        field->is_repeated() ? reflection->AddMessage(&message, field) : reflection->MutableMessage(&message, field);
    check_(path);  // the part empty
    Visit(*part, path + ".");
  }

  template <typename T>
  void SetValues(Message& message, const FieldDescriptor* field, const std::string& path, const std::vector<T>& values,
                 void (google::protobuf::Reflection::*set)(Message*, const FieldDescriptor*, T) const,
                 void (google::protobuf::Reflection::*add)(Message*, const FieldDescriptor*, T) const) {
    const auto* reflection = message.GetReflection();
    for (const T& value : values) {
      if (field->is_repeated()) {
        reflection->ClearField(&message, field);
        (reflection->*add)(&message, field, value);
        check_(path);
        for (int i = 0; i < 1000; ++i) (reflection->*add)(&message, field, value);
      } else {
        (reflection->*set)(&message, field, value);
      }
      check_(path);
    }
  }

  void SetEach(Message& message, const FieldDescriptor* field, const std::string& path) {
    using R = google::protobuf::Reflection;
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT32:
        return SetValues<int32_t>(message, field, path, Integers<int32_t>(), &R::SetInt32, &R::AddInt32);
      case FieldDescriptor::CPPTYPE_INT64:
        return SetValues<int64_t>(message, field, path, Integers<int64_t>(), &R::SetInt64, &R::AddInt64);
      case FieldDescriptor::CPPTYPE_UINT64:
        return SetValues<uint64_t>(message, field, path, Integers<uint64_t>(), &R::SetUInt64, &R::AddUInt64);
      case FieldDescriptor::CPPTYPE_FLOAT:
        return SetValues<float>(message, field, path, Reals<float>(), &R::SetFloat, &R::AddFloat);
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return SetValues<double>(message, field, path, Reals<double>(), &R::SetDouble, &R::AddDouble);
      case FieldDescriptor::CPPTYPE_BOOL:
        return SetValues<bool>(message, field, path, {true, false}, &R::SetBool, &R::AddBool);
      case FieldDescriptor::CPPTYPE_ENUM:
        return SetValues<int>(message, field, path, Integers<int>(), &R::SetEnumValue, &R::AddEnumValue);
      case FieldDescriptor::CPPTYPE_STRING:
        return SetValues<std::string>(message, field, path, Strings(), &R::SetString, &R::AddString);
      default:
        FAIL() << "a field of a new type: " << path;
    }
  }

  Message& root_;
  const std::function<void(const std::string&)> check_;
};

class Validation : public ::testing::Test {
 protected:
  Validation() : server_({.engine = {.max_context = 2000}}) {}

  void ExpectAnswered(const grpc::Status& status, const std::string& field, const Message& request) {
    ++checked_;
    if (status.ok() || status.error_code() == grpc::StatusCode::NOT_FOUND) return;
    ASSERT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT)
        << field << ": " << status.error_message() << "\n"
        << request.ShortDebugString().substr(0, 500);
    ++refused_;
    EXPECT_EQ(Detail<google::rpc::BadRequest>(status).field_violations_size(), 1) << field;
    EXPECT_FALSE(status.error_message().empty()) << field;
  }

  template <typename Request, typename Response, typename Method>
  void Check(Request request, Method method) {
    Mutator(request, [&](const std::string& field) {
      grpc::ClientContext context;
      Response response;
      ExpectAnswered((server_.stub().*method)(&context, request, &response), field, request);
    }).Run();
    EXPECT_EQ(server_.engine().live_sequences(), 0);
  }

  TestServer server_;
  int checked_ = 0, refused_ = 0;
};

TEST_F(Validation, GenerateOnce) {
  v1::GenerateOnceRequest request;
  request.set_text("a");
  request.mutable_sampling()->set_max_tokens(2);
  request.mutable_pruning()->set_mode(v1::PRUNING_MODE_CUSTOM);
  request.mutable_pruning()->add_keep_ratio(0.5);
  Check<v1::GenerateOnceRequest, v1::GenerateOnceResponse>(request, &v1::InferenceService::Stub::GenerateOnce);
  EXPECT_GT(checked_, 150);
  EXPECT_GT(refused_, 60);
}

TEST_F(Validation, FirstToken) {
  v1::FirstTokenRequest request;
  request.set_text("a");
  Check<v1::FirstTokenRequest, v1::FirstTokenResponse>(request, &v1::InferenceService::Stub::FirstToken);
  EXPECT_GT(refused_, 50);
}

TEST_F(Validation, Tokenize) {
  v1::TokenizeRequest request;
  Check<v1::TokenizeRequest, v1::TokenizeResponse>(request, &v1::InferenceService::Stub::Tokenize);
  EXPECT_GT(refused_, 5);
}

TEST_F(Validation, Detokenize) {
  v1::DetokenizeRequest request;
  Check<v1::DetokenizeRequest, v1::DetokenizeResponse>(request, &v1::InferenceService::Stub::Detokenize);
  EXPECT_GT(refused_, 3);
}

TEST_F(Validation, GetModel) {
  Check<v1::GetModelRequest, v1::GetModelResponse>({}, &v1::InferenceService::Stub::GetModel);
  EXPECT_GT(checked_, 3);
}

struct BadField {
  const char* name;
  std::function<void(v1::GenerateOnceRequest&)> set;
  const char* field;
};

class BadFields : public ::testing::TestWithParam<BadField> {};

TEST_P(BadFields, IsNamedByItsPath) {
  TestServer server;
  v1::GenerateOnceRequest request;
  request.set_text("a");
  GetParam().set(request);
  grpc::ClientContext context;
  v1::GenerateOnceResponse response;
  const grpc::Status status = server.stub().GenerateOnce(&context, request, &response);
  ASSERT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  EXPECT_EQ(Detail<google::rpc::BadRequest>(status).field_violations(0).field(), GetParam().field);
  EXPECT_THAT(status.error_message(), ::testing::StartsWith(std::string(GetParam().field) + ": "));
}

using Request = v1::GenerateOnceRequest;
INSTANTIATE_TEST_SUITE_P(
    All, BadFields,
    ::testing::Values(
        BadField{"NoPrompt", [](Request& r) { r.clear_text(); }, "prompt"},
        BadField{"EmptyText", [](Request& r) { r.set_text(""); }, "text"},
        BadField{"EmptyIds", [](Request& r) { r.mutable_token_ids(); }, "token_ids.ids"},
        BadField{"IdOutOfVocabulary",
                 [](Request& r) {
                   r.mutable_token_ids()->add_ids(1);
                   r.mutable_token_ids()->add_ids(1 << 20);
                 },
                 "token_ids.ids[1]"},
        BadField{"NoMessages", [](Request& r) { r.mutable_chat(); }, "chat.messages (count)"},
        BadField{"UnknownRole", [](Request& r) { r.mutable_chat()->add_messages()->set_role("root"); },
                 "chat.messages[0].role"},
        BadField{"LateSystemMessage",
                 [](Request& r) {
                   r.mutable_chat()->add_messages()->set_role("user");
                   r.mutable_chat()->add_messages()->set_role("system");
                 },
                 "chat.messages[1].role"},
        BadField{"SilentChat", [](Request& r) { r.mutable_chat()->add_messages()->set_role("user"); },
                 "chat.messages"},
        BadField{"NoTokens", [](Request& r) { r.mutable_sampling()->set_max_tokens(0); }, "sampling.max_tokens"},
        BadField{"NanTemperature", [](Request& r) { r.mutable_sampling()->set_temperature(NAN); },
                 "sampling.temperature"},
        BadField{"ManyLogprobs", [](Request& r) { r.mutable_sampling()->set_logprobs(21); }, "sampling.logprobs"},
        BadField{"EmptyStop", [](Request& r) { r.mutable_sampling()->add_stop(""); }, "sampling.stop[0]"},
        BadField{"NegativeStopToken", [](Request& r) { r.mutable_sampling()->add_stop_token_ids(-1); },
                 "sampling.stop_token_ids[0]"},
        BadField{"UnknownMode", [](Request& r) { r.mutable_pruning()->set_mode(static_cast<v1::PruningMode>(9)); },
                 "pruning.mode"},
        BadField{"RatioWithoutCustom", [](Request& r) { r.mutable_pruning()->add_keep_ratio(0.5); },
                 "pruning.keep_ratio"},
        BadField{"CustomWithoutRatio", [](Request& r) { r.mutable_pruning()->set_mode(v1::PRUNING_MODE_CUSTOM); },
                 "pruning.keep_ratio (count)"},
        BadField{"GrowingRatios",
                 [](Request& r) {
                   r.mutable_pruning()->set_mode(v1::PRUNING_MODE_CUSTOM);
                   r.mutable_pruning()->add_keep_ratio(0.25);
                   r.mutable_pruning()->add_keep_ratio(0.5);
                 },
                 "pruning.keep_ratio[1]"},
        BadField{"EmptySpan", [](Request& r) { r.mutable_pruning()->mutable_query_span()->set_begin(3); },
                 "pruning.query_span.end"},
        BadField{"SpanBehindThePrompt",
                 [](Request& r) {
                   r.mutable_pruning()->mutable_query_span()->set_begin(0);
                   r.mutable_pruning()->mutable_query_span()->set_end(2);
                 },
                 "pruning.query_span"},
        BadField{"HugePriority", [](Request& r) { r.set_priority(101); }, "priority"}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace slimfill::testing
