//! The simulation: environment steps, rewards, state.
//!
//! Stepping follows dm-control's "legacy step": values that depend on positions and velocities are up to date after a
//! step, so that images and rewards belong to the same moment.

use anyhow::{Context, Result, ensure};
use mujoco_rs::wrappers::{MjData, MjModel, MjtDisableBit, MjtObjBase, MjtState, MjtWarning};
use rand::Rng;

use super::{Diverged, EnvironmentKind, model, reset, reward};

/// The parts of MuJoCo's state that the next step depends on.
const STATE: u32 = MjtState::mjSTATE_INTEGRATION as u32;

type Warnings = [i32; MjtWarning::mjNWARNING as usize];

/// The simulation of one body.
pub struct Physics {
    kind: EnvironmentKind,
    data: MjData<Box<MjModel>>,
    /// Steps of MuJoCo in an environment step.
    substeps: u32,
    torso: usize,
    /// The body whose height is rewarded: the head of the humanoid, otherwise the torso.
    top: usize,
    /// Index of the measured velocity in MuJoCo's sensor data.
    velocity: usize,
    /// Smallest and largest value of each actuator.
    bounds: Vec<[f64; 2]>,
}

impl Physics {
    /// Begins in the default state of the model.
    pub fn new(kind: EnvironmentKind, model: Box<MjModel>) -> Result<Self> {
        let (top, velocity, seconds) = match kind {
            EnvironmentKind::WalkerRun => ("torso", "torso_subtreelinvel", 0.025),
            EnvironmentKind::QuadrupedRun => ("torso", "velocimeter", 0.02),
            EnvironmentKind::HumanoidRun => ("head", "torso_subtreelinvel", 0.025),
        };
        let sensor = model::id(&model, MjtObjBase::mjOBJ_SENSOR, velocity)?;
        let velocity = *model.sensor_adr().get(sensor).context("a sensor without data")? as usize;
        let bounds = model.actuator_ctrlrange().to_vec();
        Ok(Self {
            kind,
            substeps: (seconds / model.opt().timestep).round() as u32,
            torso: model::id(&model, MjtObjBase::mjOBJ_BODY, "torso")?,
            top: model::id(&model, MjtObjBase::mjOBJ_BODY, top)?,
            velocity,
            bounds,
            data: MjData::try_new(model)?,
        })
    }

    /// MuJoCo's data, for rendering.
    pub fn data(&mut self) -> &mut MjData<Box<MjModel>> {
        &mut self.data
    }

    /// Sets a random first state of an episode.
    pub fn reset(&mut self, rng: &mut impl Rng) -> Result<()> {
        self.clear();
        match self.kind {
            EnvironmentKind::WalkerRun => reset::randomize_joints(&mut self.data, rng),
            EnvironmentKind::QuadrupedRun => self.stand(reset::orientation(rng))?,
            EnvironmentKind::HumanoidRun => self.avoid_contacts(rng)?,
        }
        self.forward()
    }

    /// Sets the controls: each number in [-1, 1] is scaled to the range of its actuator, in single precision, as by
    /// dm-control's `action_scale` around DrQ-v2's.
    pub fn set_action(&mut self, action: &[f32]) -> Result<()> {
        let bounds = &self.bounds;
        ensure!(action.len() == bounds.len(), "an action has {} numbers, not {}", bounds.len(), action.len());
        for ((control, &action), &[low, high]) in self.data.ctrl_mut().iter_mut().zip(action).zip(bounds) {
            let (low, high) = (low as f32, high as f32);
            let scale = f64::from(high - low) / 2.0;
            let scaled = f64::from(low) + scale * (f64::from(action.clamp(-1.0, 1.0)) + 1.0);
            *control = f64::from(scaled as f32);
        }
        Ok(())
    }

    /// Takes an environment step with the action that was set, and returns its reward.
    pub fn step(&mut self) -> Result<f64> {
        let before = self.warnings();
        self.data.step2();
        for _ in 1..self.substeps {
            self.data.step();
        }
        self.data.step1();
        self.check(&before)?;
        Ok(self.reward())
    }

    /// The reward of the current state.
    fn reward(&self) -> f64 {
        let upright = self.data.xmat()[self.torso][8];
        let height = self.data.xpos()[self.top][2];
        let velocity = &self.data.sensordata()[self.velocity..];
        match self.kind {
            EnvironmentKind::WalkerRun => reward::walker(height, upright, velocity[0]),
            EnvironmentKind::QuadrupedRun => reward::quadruped(upright, velocity[0]),
            EnvironmentKind::HumanoidRun => {
                reward::humanoid(height, upright, velocity[0].hypot(velocity[1]), self.data.ctrl())
            }
        }
    }

    /// The state that the next step depends on.
    pub fn state(&self) -> Vec<f64> {
        self.data.state(STATE).into_vec()
    }

    /// Restores a state of [`Physics::state`].
    pub fn restore(&mut self, state: &[f64]) -> Result<()> {
        let size = self.data.model().state_size(STATE);
        ensure!(state.len() == size, "the state of {:?} has {size} numbers, not {}", self.kind, state.len());
        self.data.reset();
        let before = self.warnings();
        self.data.set_state(state, STATE)?;
        self.data.step1();
        self.check(&before)
    }

    /// Sets the default state of the model.
    fn clear(&mut self) {
        self.data.reset();
        // The caller overwrites the state, so warnings about it do not matter.
        let _ = self.forward();
    }

    /// Computes the values that follow from positions and velocities, without actuators: there is no action yet.
    fn forward(&mut self) -> Result<()> {
        let actuation = MjtDisableBit::mjDSBL_ACTUATION as i32;
        let before = self.warnings();
        let flags = self.data.model_opt().disableflags;
        self.data.model_opt_mut().disableflags = flags | actuation;
        self.data.forward();
        self.data.model_opt_mut().disableflags = flags;
        self.check(&before)
    }

    /// Quadruped: sets the orientation, and raises the body in steps of 1 cm until it touches nothing.
    pub(super) fn stand(&mut self, orientation: [f64; 4]) -> Result<()> {
        let mut height = 0.0;
        for _ in 0..10_000 {
            self.clear();
            let root = &mut self.data.qpos_mut()[..7];
            root[..3].copy_from_slice(&[0.0, 0.0, height]);
            root[3..].copy_from_slice(&orientation);
            // Below the floor there may be more contacts than MuJoCo can store.
            let _ = self.forward();
            if self.data.ncon() == 0 {
                return Ok(());
            }
            height += 0.01;
        }
        Err(Diverged("no height without contacts".into()).into())
    }

    /// Humanoid: samples joints until no two parts touch.
    fn avoid_contacts(&mut self, rng: &mut impl Rng) -> Result<()> {
        for _ in 0..10_000 {
            reset::randomize_joints(&mut self.data, rng);
            self.forward()?;
            if self.data.ncon() == 0 {
                return Ok(());
            }
        }
        Err(Diverged("no posture without contacts".into()).into())
    }

    fn warnings(&self) -> Warnings {
        self.data.warning().each_ref().map(|warning| warning.number)
    }

    /// Fails if MuJoCo has issued warnings since `before`.
    fn check(&self, before: &Warnings) -> Result<()> {
        const NAMES: [&str; MjtWarning::mjNWARNING as usize] = [
            "inertia matrix near singular",
            "too many contacts",
            "too many constraints",
            "bad positions",
            "bad velocities",
            "bad accelerations",
            "bad controls",
        ];
        let new =
            self.warnings().into_iter().zip(*before).zip(NAMES).filter(|((now, before), _)| now > before);
        let new: Vec<_> = new.map(|(_, name)| name).collect();
        ensure!(new.is_empty(), Diverged(new.join(", ")));
        Ok(())
    }
}
