"""What dm-control makes of the three environments: states, rewards and pictures of an episode's beginning, first states
of many episodes, the length of an episode, and values of its tolerance function.

    control.py OUT.safetensors
"""

import os
import sys

os.environ["MUJOCO_GL"] = "egl"

import dm_env
import mujoco
import numpy as np
from dm_control import suite
from dm_control.suite.wrappers import action_scale
from dm_control.utils import rewards
from dm_env import specs
from safetensors.numpy import save_file

STATE = mujoco.mjtState.mjSTATE_INTEGRATION
STEPS, PICTURE_EVERY, RESETS = 200, 20, 200


class SinglePrecision(dm_env.Environment):
    """Takes actions of 32 bits, as DrQ-v2's environments do."""

    def __init__(self, env):
        self._env = env
        spec = env.action_spec()
        self._spec = specs.BoundedArray(spec.shape, np.float32, spec.minimum, spec.maximum)

    def action_spec(self):
        return self._spec

    def step(self, action):
        assert action.dtype == np.float32
        return self._env.step(action.astype(np.float64))

    def reset(self):
        return self._env.reset()

    def observation_spec(self):
        return self._env.observation_spec()


def repeat(env, action, times=2):
    """An agent's step: its time step, and the sum of the rewards."""
    reward = 0.0
    for _ in range(times):
        step = env.step(action)
        reward += step.reward
        if step.last():
            break
    return step, reward


def environment(domain, camera):
    inner = suite.load(domain, "run", task_kwargs={"random": 1})
    physics = inner.physics
    env = action_scale.Wrapper(SinglePrecision(inner), -1.0, 1.0)
    size = env.action_spec().shape[0]
    actions = np.random.RandomState(2).uniform(-1, 1, (STEPS, size)).astype(np.float32)

    env.reset()
    states, earned, pictures = [physics.get_state(STATE)], [], []
    for k, action in enumerate(actions):
        _, reward = repeat(env, action)
        states.append(physics.get_state(STATE))
        earned.append(reward)
        if (k + 1) % PICTURE_EVERY == 0:
            pictures.append(physics.render(84, 84, camera_id=camera))

    env.reset()
    length, last = 0, False
    while not last:
        step, _ = repeat(env, np.zeros(size, np.float32))
        length, last = length + 1, step.last()

    first = []
    for _ in range(RESETS):
        env.reset()
        first.append(physics.get_state(STATE))
    return {
        "actions": actions,
        "states": np.stack(states),
        "rewards": np.array(earned),
        "pictures": np.stack(pictures).transpose(0, 3, 1, 2),
        "length": np.array([length], np.float64),
        "first": np.stack(first),
    }


def tolerances():
    """Rows of x, lower bound, upper bound, margin, value at the margin (gaussian: -1, quadratic: -2), result."""
    rows = []
    for low, high in [(0.0, 0.0), (1.2, np.inf), (-0.5, 0.25), (-np.inf, 3.0)]:
        for margin in [0.0, 0.35, 1.0, 4.0]:
            for code, sigmoid, value in [
                (-1.0, "gaussian", 0.1),
                (-2.0, "quadratic", 0.0),
                (0.0, "linear", 0.0),
                (0.5, "linear", 0.5),
            ]:
                for x in np.concatenate([np.linspace(-6, 6, 49), [low, high, low - margin, high + margin]]):
                    if np.isfinite(x):
                        result = rewards.tolerance(float(x), (low, high), margin, sigmoid, value)
                        rows.append([x, low, high, margin, code, result])
    return np.array(rows, np.float64)


tensors = {"tolerance": tolerances()}
for domain, camera in [("walker", 0), ("quadruped", 2), ("humanoid", 0)]:
    for name, value in environment(domain, camera).items():
        tensors[f"{domain}/{name}"] = np.ascontiguousarray(value)
save_file(tensors, sys.argv[1])
