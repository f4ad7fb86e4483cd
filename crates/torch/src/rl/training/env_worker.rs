//! Environment workers: each environment has its own thread, so that physics and rendering run in parallel with the
//! learner and with other episodes. An environment can only render in the thread that created it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use rand_chacha::ChaCha8Rng;

use crate::rl::RlConfig;
use crate::rl::environment::PICTURE as FRAME;
use crate::rl::training::environment::Environment;

enum WorkerCommand {
    Reset(Box<ChaCha8Rng>),
    Restore(Vec<f64>),
    Step(Vec<f32>),
    Image(u32),
}

/// The result of a command.
pub struct Scene {
    /// A frame `(3, 84, 84)`.
    pub pixels: Vec<u8>,
    /// Reward of the step; 0 after other commands.
    pub reward: f64,
    /// State from which the environment can be restored.
    pub state: Vec<f64>,
    /// An image `(size, size, 3)` after [`EnvWorker::picture`], which leaves all other fields empty.
    pub image: Vec<u8>,
}

/// An environment in its own thread. Commands return at once; [`EnvWorker::scene`] waits for their results.
pub struct EnvWorker {
    commands: Option<Sender<WorkerCommand>>,
    scenes: Receiver<Result<Scene>>,
    thread: Option<JoinHandle<()>>,
}

impl EnvWorker {
    /// Starts the thread. If the environment cannot be created, the first [`EnvWorker::scene`] fails.
    pub fn open(config: &RlConfig) -> Result<Self> {
        let (commands, orders) = channel();
        let (seen, scenes) = channel();
        let (kind, models, frames) = (config.environment, config.models.clone(), config.episode_frames);
        let act = move || {
            let mut environment = match Environment::new(kind, &models, frames) {
                Ok(environment) => environment,
                Err(error) => return drop(seen.send(Err(error))),
            };
            for command in orders {
                if seen.send(perform(&mut environment, command)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("environment".into()).spawn(act);
        let thread = thread.context("failed to start a thread for an environment")?;
        Ok(Self { commands: Some(commands), scenes, thread: Some(thread) })
    }

    /// Begins an episode in a random state.
    pub fn reset(&self, rng: ChaCha8Rng) {
        self.send(WorkerCommand::Reset(Box::new(rng)));
    }

    /// Restores a [`Scene::state`].
    pub fn restore(&self, state: Vec<f64>) {
        self.send(WorkerCommand::Restore(state));
    }

    /// Takes one step of the agent.
    pub fn step(&self, action: Vec<f32>) {
        self.send(WorkerCommand::Step(action));
    }

    /// Requests an image of `size` x `size` pixels.
    pub fn picture(&self, size: u32) {
        self.send(WorkerCommand::Image(size));
    }

    /// Waits for the result of the oldest command whose result has not been read.
    pub fn scene(&self) -> Result<Scene> {
        self.scenes.recv().unwrap_or_else(|_| Err(anyhow!("the thread of an environment has ended")))
    }

    fn send(&self, command: WorkerCommand) {
        // If the thread has ended, the next `scene` fails.
        let _ = self.commands.as_ref().map(|commands| commands.send(command));
    }
}

impl Drop for EnvWorker {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn perform(environment: &mut Environment, command: WorkerCommand) -> Result<Scene> {
    let reward = match command {
        WorkerCommand::Image(size) => {
            let image = environment.image(size)?;
            return Ok(Scene { pixels: Vec::new(), reward: 0.0, state: Vec::new(), image });
        }
        WorkerCommand::Reset(mut rng) => {
            environment.reset(&mut rng)?;
            0.0
        }
        WorkerCommand::Restore(state) => {
            environment.restore(&state)?;
            0.0
        }
        WorkerCommand::Step(action) => environment.step(&action)?,
    };
    let mut pixels = vec![0; FRAME];
    environment.pixels(&mut pixels)?;
    Ok(Scene { pixels, reward, state: environment.state(), image: Vec::new() })
}
