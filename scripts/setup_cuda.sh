#!/usr/bin/env bash
# A CUDA 13 toolkit without root and without a GPU: nvcc, headers and libraries from NVIDIA's wheels, laid out as CMake
# expects. Nothing is done where a system's nvcc 13 is on the PATH. Usage: scripts/setup_cuda.sh (setup.sh --cuda runs it)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
source "$root/scripts/lib.sh"
requirements="$root/scripts/requirements-cuda.txt"
toolkit=$SLIMFILL_HOME/cuda
venv=$SLIMFILL_HOME/cuda-venv

if command -v nvcc >/dev/null && nvcc --version | grep -q 'release 13\.'; then
  step "CUDA toolkit: $(command -v nvcc)"
  exit 0
fi
if cmp -s "$requirements" "$toolkit/requirements.stamp"; then step "CUDA toolkit: present"; exit 0; fi
step "CUDA toolkit: installing $(grep -c '==' "$requirements") pinned wheels into $toolkit"
rm -rf "$toolkit" "$venv"
/usr/bin/python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
installed=$(echo "$venv"/lib/python3*/site-packages/nvidia/cu13)
[ -x "$installed/bin/nvcc" ] || die "the wheels hold no nvcc: looked for $installed/bin/nvcc"

# The wheels have lib, not lib64, and libraries without the names a linker looks for. bin is a folder of links, not a
# link: nvcc looks for everything else in bin/.. .
mkdir -p "$toolkit/bin" "$toolkit/lib"
ln -s "$installed"/bin/* "$toolkit/bin/"
ln -s "$installed"/{include,nvvm} "$toolkit/"
ln -s lib "$toolkit/lib64"
for library in "$installed"/lib/*; do
  name=$(basename "$library")
  ln -s "$library" "$toolkit/lib/$name"
  case $name in *.so.*) ln -sf "$library" "$toolkit/lib/${name%%.so.*}.so" ;; esac
done
cp "$requirements" "$toolkit/requirements.stamp"
