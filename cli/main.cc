#include <cstdio>
#include <stdexcept>

#include "CLI/CLI.hpp"
#include "cli/commands.h"

namespace {

using namespace slimfill::cli;  // NOLINT: the program's own

constexpr char kExitCodes[] =
    "Exit codes: 0 done; 1 other error; 2 wrong arguments or unreadable file; 3 no server answers; 4 the server "
    "refuses\n"
    "the request (too long, not authorised, ...); 5 the server is busy: try again; 6 out of time.";

void AddConnection(CLI::App& command, Connection& connection) {
  command.add_option("--server", connection.server, "address of the server")
      ->envname("SLIMFILL_SERVER")
      ->capture_default_str();
  command.add_option("--token", connection.token, "bearer token")->envname("SLIMFILL_TOKEN");
  command.add_option("--tls-ca", connection.tls_ca, "use TLS; PEM file of the authority that signed the server's key");
  command.add_option("--timeout", connection.timeout_s, "seconds that the call may take; 0: no limit")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
}

CLI::App* AddAsk(CLI::App& app, AskOptions& ask) {
  CLI::App* command = app.add_subcommand("ask", "ask a question about files");
  command->add_option("question", ask.question, "the question")->required();
  command
      ->add_option("-f,--file", ask.files,
                   "document, - for standard input (the default when that is not a terminal); may be repeated")
      ->allow_extra_args(false);
  command->add_option("--pruning", ask.pruning, "auto, off or keep=RATIO")->capture_default_str();
  command->add_option("--heatmap", ask.heatmap, "HTML file to write: which text each pruning left to the model");
  command->add_option("--max-tokens", ask.max_tokens, "longest answer")->capture_default_str();
  command->add_option("--temperature", ask.temperature, "0 always takes the most likely token");
  command->add_option("--top-p", ask.top_p, "nucleus sampling");
  command->add_option("--seed", ask.seed, "repeats an answer of the same temperature");
  command->add_option("--system", ask.system, "system message");
  command->add_flag("--question-first", ask.question_first, "put the question before the documents as well");
  command->add_flag("--no-store", ask.no_store, "neither read nor write the KV store");
  command->add_flag("--json", ask.json, "print one JSON object instead");
  command->footer(kExitCodes);
  return command;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("slimfill: asks a slimfill-server.");
  app.require_subcommand(1);
  app.footer(kExitCodes);
  Connection connection;
  AskOptions ask;
  TokenizeOptions tokenize;
  bool status_json = false;

  CLI::App* ask_command = AddAsk(app, ask);
  CLI::App* status_command = app.add_subcommand("status", "show the server's model and load");
  status_command->add_flag("--json", status_json, "print one JSON object instead");
  CLI::App* tokenize_command = app.add_subcommand("tokenize", "count the tokens of a text");
  tokenize_command->add_option("text", tokenize.text, "the text; default: standard input");
  tokenize_command->add_option("-f,--file", tokenize.files, "a file instead; may be repeated")->allow_extra_args(false);
  tokenize_command->add_flag("--json", tokenize.json, "print count and ids as JSON");
  for (CLI::App* command : {ask_command, status_command, tokenize_command}) AddConnection(*command, connection);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kOk : kUsage;
  }
  const bool json = ask.json || status_json || tokenize.json;
  try {
    Client client(connection);
    if (ask_command->parsed()) return Ask(client, ask);
    if (status_command->parsed()) return ShowStatus(client, status_json);
    return Tokenize(client, tokenize);
  } catch (const std::runtime_error& error) {
    return Report(UsageProblem(error.what()), json);
  }
}
