"""DrQ-v2 in PyTorch with dm-control: what benches/drqv2.rs measures pbtnas against.

The algorithm, top to bottom, and organised as its authors do it: one process acts, renders and learns; whole episodes
go to compressed files, which the worker processes of a DataLoader read and sample transitions from; pictures are shifted
on the learner's device. The networks are those of pbtnas' search space that come closest to DrQ-v2's own.

usage: drqv2.py --help

It acts at random until the seed phase is over, says `ready`, and trains as many agent steps as each line of its input
says; it answers with the seconds they took.
"""

import argparse
import os
import random
import sys
import tempfile
import time
import traceback
from collections import deque
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from dm_control import suite
from dm_control.suite.wrappers import action_scale

SIDE = 84
STACKED = 3
ACTION_REPEAT = 2
SEED_STEPS = 2_000
RANDOM_STEPS = 2_000
UPDATE_EVERY = 2
DISCOUNT = 0.99
TARGET_TAU = 0.01
LEARNING_RATE = 1e-4
NOISE_CLIP = 0.3
REPRESENTATION = 50
CAPACITY = 1_000_000
FETCH_EVERY = 1_000
PAD = 4


# --- environment -------------------------------------------------------------------------------------------------


class Environment:
    """A task of the suite, seen in stacked pictures."""

    def __init__(self, name, seed):
        domain, task = name.split("-")
        suite_environment = suite.load(domain, task, task_kwargs={"random": seed})
        self.environment = action_scale.Wrapper(suite_environment, minimum=-1.0, maximum=1.0)
        self.camera = 2 if domain == "quadruped" else 0
        self.action_size = self.environment.action_spec().shape[0]
        self.pictures = deque(maxlen=STACKED)

    def look(self):
        return self.environment.physics.render(SIDE, SIDE, camera_id=self.camera).transpose(2, 0, 1)

    def reset(self):
        self.environment.reset()
        self.pictures.extend([self.look()] * STACKED)
        return np.concatenate(self.pictures)

    def step(self, action):
        """The observation, the reward, the discount, and whether the episode is over."""
        reward, discount = 0.0, 1.0
        for _ in range(ACTION_REPEAT):
            now = self.environment.step(action.astype(np.float64))
            reward += now.reward * discount
            discount *= now.discount
            if now.last():
                break
        self.pictures.append(self.look())
        return np.concatenate(self.pictures), reward, discount, now.last()


# --- replay ------------------------------------------------------------------------------------------------------


class Recorder:
    """Writes episodes. Entry i holds what was seen, and the action and reward that led there; entry 0 has none."""

    def __init__(self, folder, action_size):
        self.folder, self.action_size, self.episodes = folder, action_size, 0

    def begin(self, observation):
        self.entries = []
        self.add(observation, np.zeros(self.action_size, np.float32), 0.0, 1.0)

    def add(self, observation, action, reward, discount):
        self.entries.append((observation, action, np.float32(reward), np.float32(discount)))

    def end(self):
        names = ["observation", "action", "reward", "discount"]
        columns = {name: np.array(column) for name, column in zip(names, zip(*self.entries))}
        path = self.folder / f"{self.episodes:06}_{len(self.entries) - 1}"
        with path.open("wb") as file:
            np.savez_compressed(file, **columns)
        path.rename(path.with_suffix(".npz"))
        self.episodes += 1


class Transitions(torch.utils.data.IterableDataset):
    """Draws transitions out of the episodes that belong to this worker."""

    def __init__(self, folder, workers, nstep):
        self.folder, self.workers, self.nstep = folder, workers, nstep
        self.capacity = CAPACITY // workers
        self.episodes = {}
        self.transitions = 0

    def fetch(self):
        worker = torch.utils.data.get_worker_info().id
        for path in sorted(self.folder.glob("*.npz")):
            number, length = map(int, path.stem.split("_"))
            if number % self.workers != worker:
                continue
            with np.load(path) as file:
                episode = {name: file[name] for name in file}
            path.unlink()
            while self.transitions + length > self.capacity:
                oldest = self.episodes.pop(min(self.episodes))
                self.transitions -= len(oldest["reward"]) - 1
            self.episodes[number] = episode
            self.transitions += length
        self.numbers = list(self.episodes)

    def draw(self):
        episode = self.episodes[random.choice(self.numbers)]
        last = len(episode["reward"]) - self.nstep
        first = random.randint(1, last)
        reward, discount = np.float32(0), np.float32(1)
        for i in range(first, first + self.nstep):
            reward += discount * episode["reward"][i]
            discount *= episode["discount"][i] * np.float32(DISCOUNT)
        observation, next_observation = (episode["observation"][i] for i in (first - 1, first + self.nstep - 1))
        return observation, episode["action"][first], reward[None], discount[None], next_observation

    def __iter__(self):
        drawn = 0
        while True:
            if drawn % FETCH_EVERY == 0:
                try:
                    self.fetch()
                except Exception:
                    traceback.print_exc()
            drawn += 1
            yield self.draw()


def seed_worker(worker):
    random.seed(torch.initial_seed() % 2**32)


def batches(folder, options):
    transitions = Transitions(folder, options.workers, options.nstep)
    loader = torch.utils.data.DataLoader(
        transitions,
        batch_size=options.batch,
        num_workers=options.workers,
        pin_memory=options.device.startswith("cuda"),
        worker_init_fn=seed_worker,
    )
    return iter(loader)


# --- networks ----------------------------------------------------------------------------------------------------


def initialise(module):
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        gain = 2**0.5 if isinstance(module, nn.Conv2d) else 1.0
        nn.init.orthogonal_(module.weight, gain)
        nn.init.zeros_(module.bias)


class Encoder(nn.Sequential):
    outputs = 32 * 41 * 41

    def __init__(self):
        layers = [nn.Conv2d(3 * STACKED, 32, 3, stride=2), nn.ReLU()]
        for _ in range(3):
            layers += [nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
        super().__init__(*layers)

    def forward(self, observation):
        return super().forward(observation / 255 - 0.5).flatten(1)


def trunk():
    return nn.Sequential(nn.Linear(Encoder.outputs, REPRESENTATION), nn.LayerNorm(REPRESENTATION), nn.Tanh())


def layers(inputs, hidden, outputs):
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


class Actor(nn.Sequential):
    def __init__(self, action_size, hidden):
        super().__init__(trunk(), layers(REPRESENTATION, hidden, action_size), nn.Tanh())


class Critic(nn.Module):
    def __init__(self, action_size, hidden):
        super().__init__()
        self.trunk = trunk()
        self.q1 = layers(REPRESENTATION + action_size, hidden, 1)
        self.q2 = layers(REPRESENTATION + action_size, hidden, 1)

    def forward(self, encoding, action):
        x = torch.cat([self.trunk(encoding), action], 1)
        return self.q1(x), self.q2(x)


# --- learning ----------------------------------------------------------------------------------------------------


def shift(pixels):
    """Each stack of pictures, moved by up to four pixels."""
    count, _, side, _ = pixels.shape
    padded = side + 2 * PAD
    centres = (2 * torch.arange(side, device=pixels.device) + 1) / padded - 1
    moved = 2 * torch.randint(0, 2 * PAD + 1, (count, 2), device=pixels.device) / padded
    x, y = (centres + moved[:, i : i + 1] for i in range(2))
    grid = torch.stack([x[:, None, :].expand(-1, side, -1), y[:, :, None].expand(-1, -1, side)], -1)
    return F.grid_sample(F.pad(pixels, [PAD] * 4, mode="replicate"), grid, align_corners=False)


class Agent:
    def __init__(self, action_size, options):
        self.device, self.action_size = options.device, action_size
        self.encoder = Encoder().apply(initialise).to(self.device)
        self.actor = Actor(action_size, options.hidden).apply(initialise).to(self.device)
        self.critic = Critic(action_size, options.hidden).apply(initialise).to(self.device)
        self.target = Critic(action_size, options.hidden).to(self.device)
        self.target.load_state_dict(self.critic.state_dict())
        self.adam = {
            network: torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
            for network in [self.encoder, self.actor, self.critic]
        }

    def deviation(self, step):
        """The schedule linear(1.0, 0.1, 500 000)."""
        return 1.0 - 0.9 * min(step / 500_000, 1.0)

    def sample(self, encoding, step, clip):
        mean = self.actor(encoding)
        action = mean + (torch.randn_like(mean) * self.deviation(step)).clamp(-clip, clip)
        return action + (action.clamp(-1 + 1e-6, 1 - 1e-6) - action).detach()

    def act(self, observation, step):
        if step < RANDOM_STEPS:
            return np.random.uniform(-1, 1, self.action_size).astype(np.float32)
        with torch.no_grad():
            encoding = self.encoder(torch.as_tensor(observation, device=self.device)[None])
            return self.sample(encoding, step, np.inf)[0].cpu().numpy()

    def descend(self, loss, *networks):
        for network in networks:
            self.adam[network].zero_grad(set_to_none=True)
        loss.backward()
        for network in networks:
            self.adam[network].step()

    def update(self, batch, step):
        observation, action, reward, discount, next_observation = (x.to(self.device) for x in batch)
        encoding = self.encoder(shift(observation.float()))
        with torch.no_grad():
            next_encoding = self.encoder(shift(next_observation.float()))
            next_q = torch.minimum(*self.target(next_encoding, self.sample(next_encoding, step, NOISE_CLIP)))
            target = reward + discount * next_q
        q1, q2 = self.critic(encoding, action)
        self.descend(F.mse_loss(q1, target) + F.mse_loss(q2, target), self.critic, self.encoder)

        encoding = encoding.detach()
        q = torch.minimum(*self.critic(encoding, self.sample(encoding, step, NOISE_CLIP)))
        self.descend(-q.mean(), self.actor)

        with torch.no_grad():
            for old, new in zip(self.target.parameters(), self.critic.parameters()):
                old.lerp_(new, TARGET_TAU)


# --- the loop ----------------------------------------------------------------------------------------------------


class Run:
    def __init__(self, folder, options):
        self.folder, self.options = folder, options
        self.environment = Environment(options.environment, seed=1)
        self.recorder = Recorder(folder, self.environment.action_size)
        self.agent = Agent(self.environment.action_size, options)
        self.step, self.batches = 0, None
        self.returns, self.episode_return = [], 0.0
        self.begin()

    def begin(self):
        self.observation = self.environment.reset()
        self.recorder.begin(self.observation)
        self.episode_return = 0.0

    def advance(self):
        """One agent step."""
        action = self.agent.act(self.observation, self.step)
        if self.step >= SEED_STEPS and self.step % UPDATE_EVERY == 0:
            if self.batches is None:
                self.batches = batches(self.folder, self.options)
            self.agent.update(next(self.batches), self.step)
        self.observation, reward, discount, over = self.environment.step(action)
        self.recorder.add(self.observation, action, reward, discount)
        self.episode_return += reward
        self.step += 1
        if over:
            self.recorder.end()
            self.returns.append(self.episode_return)
            self.begin()

    def advance_by(self, steps):
        for _ in range(steps):
            self.advance()
        if self.options.device.startswith("cuda"):
            torch.cuda.synchronize()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--environment", default="walker-run", help="domain and task")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    parser.add_argument("--workers", type=int, default=4, help="processes that draw batches")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--nstep", type=int, default=1)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(1)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), options)
        run.advance_by(SEED_STEPS)
        print("ready", flush=True)
        for line in sys.stdin:
            began = time.perf_counter()
            run.advance_by(int(line))
            print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
