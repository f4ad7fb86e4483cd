"""Children made in PyTorch: the other side of benches/step.rs, which calls it.

usage: step.py CASE     (JSON: the task's settings, folder, children with genotype, parents and replaced prefixes)

Parents are turned into files of torch.save first. Then for each line, `plain` or `modules`, it makes all children, one after
the other, brings their files to disk, and answers with the seconds and the MiB of memory above those at the start.

plain     tensors go from the parents' dictionaries into the child's; the child's network is built for its fresh weights only
modules   the usual way: they are loaded into the child's networks and optimizers, whose state is saved
"""

import copy
import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

import torch
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/oracle"))
import gan as networks

SHRINK, PERTURB = 0.4, 0.1


def resident():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024


def convert(path, to):
    parts = {"model": {}, "average": {}, "optimizer": {}}
    with safe_open(path, "pt") as file:
        for name in file.keys():
            part, _, rest = name.partition("/")
            parts[part][rest] = file.get_tensor(name)
    torch.save(parts, to)


def parameter(name):
    """The parameter that a tensor of an optimizer (network/moment/rest) is about."""
    network, _, rest = name.split("/", 2)
    return f"{network}/{rest}"


def through_modules(case, gan, model, average, optimizer):
    """The state of networks and optimizers that were given these tensors."""
    gan.load(model)
    averaged = copy.deepcopy(gan.generator)
    averaged.load_state_dict(
        {name: average.get(f"generator/{name.replace('.', '/')}", value) for name, value in averaged.state_dict().items()}
    )
    states = {"generator": gan.generator.state_dict(), "discriminator": gan.discriminator.state_dict()}
    states["average"] = averaged.state_dict()
    names = {id(tensor): name for name, tensor in gan.names()}
    for network in ["generator", "discriminator"]:
        parameters = list(getattr(gan, network).parameters())
        adam = torch.optim.AdamW(parameters, lr=2e-4, betas=(case["beta1"], case["beta2"]), eps=case["epsilon"])
        moments = {}
        for number, tensor in enumerate(parameters):
            rest = names[id(tensor)].split("/", 1)[1]
            found = {moment: optimizer.get(f"{network}/{moment}/{rest}") for moment in ["step", "exp_avg", "exp_avg_sq"]}
            if found["step"] is not None:
                moments[number] = found
        adam.load_state_dict(adam.state_dict() | {"state": moments})
        states[f"{network} optimizer"] = adam.state_dict()
    return states


def make(case, child, base, donor, to, modules):
    base, donor = torch.load(base), torch.load(donor)
    gan = networks.Gan(case | {"genotype": child["genotype"]})
    fresh = dict(gan.names())
    replaced = tuple(child["replaced"])
    model, average = {}, {}
    with torch.no_grad():
        for name, noise in fresh.items():
            if replaced and name.startswith(replaced):
                model[name] = SHRINK * donor["model"][name] + PERTURB * noise.detach()
            else:
                model[name] = base["model"][name]
            source = donor if replaced and name.startswith(replaced) else base
            if name in source["average"]:
                average[name] = source["average"][name]
    optimizer = {
        name: value
        for name, value in base["optimizer"].items()
        if parameter(name) in model and model[parameter(name)].shape == base["model"][parameter(name)].shape
    }
    states = {"model": model, "average": average, "optimizer": optimizer}
    if modules:
        states = through_modules(case, gan, model, average, optimizer)
    with open(to, "wb") as file:
        torch.save(states, file)
        file.flush()
        os.fsync(file.fileno())


def main():
    case = json.loads(sys.argv[1])
    folder = Path(case["folder"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    parents = sorted({parent for child in case["children"] for parent in child["parents"]})
    files = {parent: folder / f"parent{number}.pt" for number, parent in enumerate(parents)}
    for parent, file in files.items():
        convert(parent, file)
    before = resident()
    most = 0.0
    working = threading.Event()

    def watch():
        nonlocal most
        while True:
            working.wait()
            most = max(most, resident())
            time.sleep(0.01)

    threading.Thread(target=watch, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        most = 0.0
        began = time.perf_counter()
        working.set()
        for number, child in enumerate(case["children"]):
            base, donor = (files[parent] for parent in child["parents"])
            make(case, child, base, donor, folder / f"child{number}.pt", line.strip() == "modules")
        working.clear()
        print(time.perf_counter() - began, most - before, flush=True)
        for number in range(len(case["children"])):
            (folder / f"child{number}.pt").unlink()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
