#include "kvstore/service/app.h"

int main(int argc, char** argv) { return slimfill::kvstore::RunKvStore(argc, argv); }
