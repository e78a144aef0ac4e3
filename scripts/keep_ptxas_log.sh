#!/bin/sh
# A compiler launcher: runs nvcc, and keeps what ptxas says about the kernels beside the object, as OBJECT.ptxas, where
# scripts/check_kernel_resources.py reads it. Everything else is printed.
object=
previous=
for argument in "$@"; do
  [ "$previous" = -o ] && object=$argument
  previous=$argument
done
"$@" >"$object.ptxas" 2>&1
status=$?
grep -v -e '^ptxas info' -e 'bytes stack frame' "$object.ptxas"
exit $status
