//! Environments in threads of their own: physics and rendering go on while the learner computes, and several episodes go
//! on side by side. An environment renders where it was made, so it lives in its thread from beginning to end.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use rand_chacha::ChaCha8Rng;

use super::RlConfig;
use super::environment::Environment;
use super::replay::FRAME;

/// What an environment is told.
enum Command {
    Reset(Box<ChaCha8Rng>),
    Restore(Vec<f64>),
    Step(Vec<f32>),
    Image(u32),
}

/// What is seen after a command.
pub struct Scene {
    /// A frame `(3, 84, 84)`.
    pub pixels: Vec<u8>,
    /// Reward of the step; 0 after a reset.
    pub reward: f64,
    /// The whole state of the environment, from which it can be restored.
    pub state: Vec<f64>,
    /// An image `(size, size, 3)` if one was asked for; then nothing else is told.
    pub image: Vec<u8>,
}

/// An environment in a thread of its own. Commands return at once; [`Stage::look`] waits for what came of them.
pub struct Stage {
    commands: Option<Sender<Command>>,
    scenes: Receiver<Result<Scene>>,
    thread: Option<JoinHandle<()>>,
}

impl Stage {
    /// Starts the thread. What goes wrong there, the first look tells.
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

    /// Begins an episode.
    pub fn reset(&self, rng: ChaCha8Rng) {
        self.send(Command::Reset(Box::new(rng)));
    }

    /// Goes back to a state.
    pub fn restore(&self, state: Vec<f64>) {
        self.send(Command::Restore(state));
    }

    /// Acts for one step of the agent.
    pub fn step(&self, action: Vec<f32>) {
        self.send(Command::Step(action));
    }

    /// Asks for an image for people.
    pub fn picture(&self, size: u32) {
        self.send(Command::Image(size));
    }

    /// Waits for what came of the oldest command that has not been looked at.
    pub fn look(&self) -> Result<Scene> {
        self.scenes.recv().unwrap_or_else(|_| Err(anyhow!("the thread of an environment has ended")))
    }

    fn send(&self, command: Command) {
        // If the thread is gone, the look that follows tells.
        let _ = self.commands.as_ref().map(|commands| commands.send(command));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.commands.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn perform(environment: &mut Environment, command: Command) -> Result<Scene> {
    let reward = match command {
        Command::Image(size) => {
            let image = environment.image(size)?;
            return Ok(Scene { pixels: Vec::new(), reward: 0.0, state: Vec::new(), image });
        }
        Command::Reset(mut rng) => {
            environment.reset(&mut rng)?;
            0.0
        }
        Command::Restore(state) => {
            environment.restore(&state)?;
            0.0
        }
        Command::Step(action) => environment.step(&action)?,
    };
    let mut pixels = vec![0; FRAME];
    environment.pixels(&mut pixels)?;
    Ok(Scene { pixels, reward, state: environment.state(), image: Vec::new() })
}
