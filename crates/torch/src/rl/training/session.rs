//! Trains an agent.
//!
//! A step of the session is a step of the agent: an action, two steps of the environment, and a frame; at every second
//! step also an update. As in DrQ-v2's loop the action is chosen before the update, so that the environment worker
//! takes the action while the update is computed. Batches are prepared in other threads, from finished episodes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};
use safetensors::Dtype;

use crate::device::device;
use crate::rl::config::steps;
use crate::rl::environment::{ACTION_REPEAT, COLOURS, SIDE};
use crate::rl::training::agent::{Agent, Losses, MARGIN, Transitions};
use crate::rl::training::env_worker::EnvWorker;
use crate::rl::training::evaluation::{self, Episodes, strip};
use crate::rl::training::replay::{
    Batch, Episode as Finished, EpisodePool, Recording, Sampler, Sampling, Store,
};
use crate::rl::{RlConfig, RlTask, Share};
use pbtnas_core::checkpoint::{Entry, Meta, Reader};
use pbtnas_core::search::{Genotype, rng};
use pbtnas_engine::task::{Evaluation, Measure, MemberContext, Session, Start};

/// Tensors of the current episode, in snapshots.
const FRAMES: &str = "episode/frames";
const ACTIONS: &str = "episode/actions";
const REWARDS: &str = "episode/rewards";
const STATE: &str = "episode/state";

/// Largest shift of an observation in pixels, in each direction (DrQ).
const SHIFT: usize = 4;

/// An agent in training.
pub struct RlSession<'a> {
    task: &'a RlTask,
    genotype: Genotype,
    place: MemberContext,
    agent: Agent,
    epoch: u32,
    step: u64,
    store: Store,
    pool: Arc<EpisodePool>,
    sampler: Sampler,
    /// The step whose batch was requested from the sampler.
    awaited: Option<u64>,
    /// Opened by the first training step: an evaluation does not need it.
    stage: Option<EnvWorker>,
    episode: Option<CurrentEpisode>,
    /// Frames of the last evaluation, for the preview.
    moments: Vec<Vec<u8>>,
    news: TrainingMetrics,
}

/// The current episode.
struct CurrentEpisode {
    recording: Recording,
    /// State of the environment after the last frame.
    state: Vec<f64>,
}

/// The metrics of training.
struct TrainingMetrics {
    losses: Option<Losses>,
    last_return: Option<f64>,
    since: Instant,
    steps: u64,
}

impl<'a> RlSession<'a> {
    /// Starts from fresh weights or a checkpoint.
    pub fn new(task: &'a RlTask, start: Start, place: MemberContext) -> Result<Self> {
        let config = &task.config;
        let (genotype, epoch, step) = start.origin(config.epoch_steps())?;
        let agent = Agent::new(task, &genotype, start, &place.seeds, device(config.device)?)?;
        let seeds = place.seeds;
        let store = Store::new(&place.collected, config.share, seeds.generation, seeds.member);
        let mut session = Self {
            task,
            genotype,
            agent,
            epoch,
            step,
            store,
            pool: Arc::new(EpisodePool::new(config.replay_capacity)),
            sampler: Sampler::new(config.replay_threads)?,
            awaited: None,
            stage: None,
            episode: None,
            moments: Vec::new(),
            news: TrainingMetrics { losses: None, last_return: None, since: Instant::now(), steps: 0 },
            place,
        };
        if let Start::Checkpoint(reader) = start {
            session.pool = Arc::new(session.store.load(&reader.meta().files, config.replay_capacity)?);
            session.episode = session.under_way(reader)?;
        }
        Ok(session)
    }

    fn config(&self) -> &'a RlConfig {
        &self.task.config
    }

    /// Steps of the agent since its initialisation.
    fn total(&self) -> u64 {
        u64::from(self.epoch) * self.config().epoch_steps() + self.step
    }

    /// Reads the current episode of a snapshot, if there is one.
    fn under_way(&self, reader: &Reader) -> Result<Option<CurrentEpisode>> {
        let Some((_, shape)) = reader.entry(FRAMES) else { return Ok(None) };
        let frames = shape.first().copied().unwrap_or(0);
        let actions = self.config().environment.action_size();
        let parts =
            parts(frames, actions, reader.entry(STATE).map_or(0, |(_, shape)| shape.iter().product()));
        let [frames, acted, rewards, state] = parts.map(|entry| reader.bytes(&entry));
        let floats =
            |bytes: Vec<u8>| bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let recording = Recording::from_parts(frames?, floats(acted?), floats(rewards?), actions)?;
        let state = state?.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
        Ok(Some(CurrentEpisode { recording, state }))
    }

    /// The environment worker, which [`Self::open_environment`] opens.
    fn stage(&self) -> Result<&EnvWorker> {
        self.stage.as_ref().context("no environment is open")
    }

    /// Opens the environment in the state of the current episode, or begins an episode.
    fn open_environment(&mut self) -> Result<()> {
        let stage = match self.stage.take() {
            Some(stage) => stage,
            None => {
                let stage = EnvWorker::open(self.config())?;
                if let Some(episode) = &self.episode {
                    stage.restore(episode.state.clone());
                    stage.scene().context("failed to restore the environment")?;
                }
                stage
            }
        };
        if self.episode.is_none() {
            self.refresh()?;
            let purpose = format!("episode {}", self.total() / self.config().episode_steps());
            stage.reset(rng(&self.place.seeds.at(&purpose)));
            let scene = stage.scene().context("failed to begin an episode")?;
            let recording = Recording::new(&scene.pixels, self.config().environment.action_size())?;
            self.episode = Some(CurrentEpisode { recording, state: scene.state });
        }
        self.stage = Some(stage);
        Ok(())
    }

    /// Adds new episodes of other members to the pool, if the replay buffer is shared.
    fn refresh(&mut self) -> Result<()> {
        let mut pool = (*self.pool).clone();
        self.store.refresh(&mut pool)?;
        self.pool = Arc::new(pool);
        Ok(())
    }

    /// The action of a step: random at first, then that of the policy with noise.
    fn action(&self, step: u64) -> Result<Vec<f32>> {
        let config = self.config();
        let episode = self.episode.as_ref().context("there is no current episode")?;
        let mut rng = rng(&self.place.seeds.at(&format!("action {step}")));
        let count = config.environment.action_size();
        if step < steps(config.random_frames) {
            return Ok((0..count).map(|_| rng.random_range(-1.0..1.0)).collect());
        }
        let deviation = config.exploration(step) as f32;
        let limit = 1.0 - MARGIN as f32;
        let mean = self.agent.act(&episode.recording.observation());
        let noisy = mean.into_iter().map(|mean| {
            let noise: f32 = StandardNormal.sample(&mut rng);
            let action = (mean + deviation * noise).clamp(-limit, limit);
            // The agent has diverged; its fitness will be NaN.
            if action.is_nan() { 0.0 } else { action }
        });
        Ok(noisy.collect())
    }

    /// Whether a step includes an update.
    fn learns_at(&self, step: u64) -> bool {
        let config = self.config();
        step >= steps(config.seed_frames)
            && step.is_multiple_of(config.update_every)
            && self.pool.windows(config.n_step) > 0
    }

    /// Requests the batch of a step's update from the sampler.
    fn ask(&mut self, step: u64) {
        let config = self.config();
        let sampling = Sampling {
            batch: config.batch,
            steps: config.n_step,
            discount: config.discount as f32,
            pad: SHIFT,
        };
        let rng = rng(&self.place.seeds.at(&format!("batch {step}")));
        self.sampler.ask(self.pool.clone(), sampling, rng);
        self.awaited = Some(step);
    }

    /// Waits for the batch of a step's update.
    fn batch(&mut self, step: u64) -> Result<Batch> {
        if self.awaited != Some(step) {
            self.ask(step);
        }
        self.awaited = None;
        self.sampler.take()
    }

    fn learn(&mut self, step: u64) -> Result<()> {
        let config = self.config();
        let batch = self.batch(step)?;
        // The pool does not change until the episode ends, so the next batch can be prepared in parallel.
        let next = step + config.update_every;
        let end = (step / config.episode_steps() + 1) * config.episode_steps();
        if next < end {
            self.ask(next);
        }
        let actions = self.task.actions();
        let transitions = Transitions::new(&batch, actions, self.agent.device());
        self.sampler.recycle(batch);
        let mut rng = rng(&self.place.seeds.at(&format!("update {step}")));
        let noise = self.agent.noise(&mut rng, config.batch, actions);
        self.news.losses = Some(self.agent.update(&transitions, config.exploration(step), &noise));
        Ok(())
    }

    /// Publishes a finished episode and adds it to the pool.
    fn finish_episode(&mut self) -> Result<()> {
        let Some(episode) = &self.episode else { return Ok(()) };
        let first = self.total().saturating_sub(self.config().episode_steps());
        let bytes = Finished::encode(&episode.recording)?;
        let name = self.store.publish(first, &bytes).context("failed to save an episode")?;
        let mut pool = (*self.pool).clone();
        pool.push(&name, self.store.open(&name)?);
        self.news.last_return =
            Some(episode.recording.rewards().iter().map(|&reward| f64::from(reward)).sum());
        self.pool = Arc::new(pool);
        self.episode = None;
        Ok(())
    }

    /// Whether the current episode has all its steps.
    fn is_over(&self) -> bool {
        let steps = self.config().episode_steps();
        self.episode.as_ref().is_some_and(|episode| episode.recording.transitions() as u64 >= steps)
    }
}

/// The tensors of the current episode.
fn parts(frames: usize, actions: usize, state: usize) -> [Entry; 4] {
    let steps = frames.saturating_sub(1);
    let entry = |name: &str, dtype, shape: &[usize]| Entry { name: name.into(), dtype, shape: shape.into() };
    [
        entry(FRAMES, Dtype::U8, &[frames, COLOURS, SIDE, SIDE]),
        entry(ACTIONS, Dtype::F32, &[steps, actions]),
        entry(REWARDS, Dtype::F32, &[steps]),
        entry(STATE, Dtype::F64, &[state]),
    ]
}

impl Session for RlSession<'_> {
    fn position(&self) -> (u32, u64) {
        (self.epoch, self.step)
    }

    fn steps_per_epoch(&self) -> u64 {
        self.config().epoch_steps()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let mut news = Vec::new();
        news.extend(self.news.last_return.map(|value| ("return".to_owned(), value)));
        if let Some(losses) = &self.news.losses {
            for (name, value) in
                [("critic_loss", &losses.critic), ("actor_loss", &losses.actor), ("q", &losses.q)]
            {
                news.push((name.to_owned(), value.double_value(&[])));
            }
        }
        let frames = self.news.steps * u64::from(ACTION_REPEAT);
        let seconds = self.news.since.elapsed().as_secs_f64();
        if self.news.steps > 0 && seconds > 0.0 {
            news.push(("frames_per_second".to_owned(), frames as f64 / seconds));
        }
        news
    }

    fn advance(&mut self, _: u32) -> Result<()> {
        // Publishing the last episode may have failed.
        if self.is_over() {
            return self.finish_episode();
        }
        self.open_environment()?;
        let step = self.total();
        let action = self.action(step)?;
        self.stage()?.step(action.clone());
        let learned = if self.learns_at(step) { self.learn(step) } else { Ok(()) };
        let scene = self.stage()?.scene();
        learned?;
        let scene = scene?;
        let episode = self.episode.as_mut().context("there is no current episode")?;
        episode.recording.push(&action, scene.reward as f32, &scene.pixels)?;
        episode.state = scene.state;
        self.news.steps += 1;
        self.step += 1;
        if self.step == self.config().epoch_steps() {
            (self.epoch, self.step) = (self.epoch + 1, 0);
        }
        if self.is_over() { self.finish_episode() } else { Ok(()) }
    }

    fn describe(&self) -> Result<(Meta, Vec<Entry>)> {
        let mut entries = self.agent.weights.entries();
        if let Some(CurrentEpisode { recording, state }) = &self.episode {
            let frames = recording.transitions() + 1;
            entries.extend(parts(frames, recording.action_size(), state.len()));
        }
        let meta = Meta {
            genotype: self.genotype.clone(),
            epoch: self.epoch,
            step: self.step,
            // Checkpoints do not name the files of a shared replay buffer.
            files: match self.config().share {
                Share::None => self.pool.names().map(str::to_owned).collect(),
                Share::Node | Share::Run => Vec::new(),
            },
        };
        Ok((meta, entries))
    }

    fn tensor(&self, entry: &Entry) -> Result<Vec<u8>> {
        let Some(CurrentEpisode { recording, state }) = &self.episode else {
            return self.agent.weights.tensor(entry);
        };
        let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
        match entry.name.as_str() {
            FRAMES => Ok(recording.frames().to_vec()),
            ACTIONS => Ok(floats(recording.actions())),
            REWARDS => Ok(floats(recording.rewards())),
            STATE => Ok(state.iter().flat_map(|value| value.to_le_bytes()).collect()),
            _ => self.agent.weights.tensor(entry),
        }
    }

    fn evaluate(&mut self, measure: Measure) -> Result<Evaluation> {
        let (count, purpose) = match measure {
            Measure::Search => (self.config().evaluation_episodes, "evaluation".to_owned()),
            Measure::Soup { part, generation, member } => {
                let purpose = format!("soup {} {generation} {member}", part.unwrap_or("all"));
                (self.config().evaluation_episodes, purpose)
            }
            Measure::Final { samples } => (samples, "final evaluation".to_owned()),
        };
        if !self.agent.weights.are_finite() {
            return Ok(Evaluation { fitness: f64::NAN, metrics: Vec::new() });
        }
        let Episodes { returns, moments } =
            evaluation::episodes(&self.agent, self.config(), &self.place, &purpose, count)?;
        self.moments = moments;
        let mean = returns.iter().sum::<f64>() / count as f64;
        let variance = returns.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count as f64;
        let least = returns.iter().copied().fold(f64::INFINITY, f64::min);
        let most = returns.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let metrics =
            [("return", mean), ("return_deviation", variance.sqrt()), ("worst", least), ("best", most)];
        Ok(Evaluation {
            fitness: mean,
            metrics: metrics.map(|(name, value)| (name.to_owned(), value)).into(),
        })
    }

    fn preview(&mut self) -> Result<Option<Vec<u8>>> {
        if self.moments.is_empty() { Ok(None) } else { strip(&self.moments).map(Some) }
    }

    fn export(&mut self, dir: &Path) -> Result<Vec<String>> {
        evaluation::film(&self.agent, self.config(), &self.place, dir)
    }
}
