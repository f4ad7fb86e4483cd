"""Makes PyTorch's CUDA build importable without CUDA's libraries (3 GB): puts small libraries with their names beside
PyTorch's own. They hold the functions that PyTorch is linked against, and each of them ends the process: for computing
on the CPU only.

    python stub_cuda.py SITE_PACKAGES/torch/lib
"""

import argparse
import collections
import pathlib
import re
import subprocess
import tempfile

# Libraries that PyTorch's own ask for; the CUDA runtime and CUPTI are small and taken as they are.
STUBS = ["libcudnn.so.9", "libcufile.so.0", "libcusparse.so.12", "libcufft.so.12", "libcusparseLt.so.0", "libnccl.so.2",
         "libcurand.so.10", "libcublas.so.13", "libcublasLt.so.13", "libnvshmem_host.so.3"]
LINKED = ["libtorch_python.so", "libtorch_cuda.so", "libc10_cuda.so", "libtorch_nvshmem.so"]
# Names without a version say by their beginning that they are CUDA's; they may be in any library.
UNVERSIONED = re.compile(r"(nccl|cuFile|cusparseLt|curand)\w+")


def wanted(library):
    """(version, function) of what a library lacks."""
    table = subprocess.run(["objdump", "-T", library], check=True, capture_output=True, text=True).stdout
    for line in table.splitlines():
        if "*UND*" in line:
            *version, function = line.split("*UND*")[1].split()[1:]
            yield "".join(version).strip("()").replace("Base", ""), function


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lib", type=pathlib.Path, metavar="SITE_PACKAGES/torch/lib")
    lib = parser.parse_args().lib
    functions = collections.defaultdict(set)  # by library and version
    for name in LINKED:
        for version, function in wanted(lib / name):
            if version in STUBS:
                functions[version, version].add(function)
            elif version == "NVSHMEM":
                functions["libnvshmem_host.so.3", version].add(function)
            elif not version and UNVERSIONED.fullmatch(function):
                functions["libnccl.so.2", ""].add(function)
    for stub in STUBS:
        code, script = "", ""
        for (of, version), names in functions.items():
            if of == stub:
                code += "".join(f"void {name}(void) {{ __builtin_trap(); }}\n" for name in sorted(names))
                script += f"{version} {{ global: *; }};\n" if version else ""
        with tempfile.NamedTemporaryFile("w", suffix=".map") as versions:
            versions.write(script)
            versions.flush()
            link = ["gcc", "-shared", "-fPIC", "-nostdlib", "-w", "-fno-builtin", f"-Wl,-soname,{stub}"]
            link += [f"-Wl,--version-script,{versions.name}"] if script else []
            subprocess.run([*link, "-o", lib / stub, "-x", "c", "-"], check=True, input=code, text=True)


main()
