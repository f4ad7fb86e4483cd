//! Random first states of episodes.

use std::f64::consts::PI;

use mujoco_rs::wrappers::{MjData, MjModel, MjtJoint};
use rand::Rng;
use rand_distr::StandardNormal;

/// Samples joints with limits uniformly within them, and other hinges uniformly in [-pi, pi). As in the suite, the
/// rotation of a free body is a quaternion of four numbers from [0, 1), which does not cover all rotations; its
/// position stays, and so do slides without limits.
pub fn randomize_joints(data: &mut MjData<Box<MjModel>>, rng: &mut impl Rng) {
    for joint in 0..data.model().jnt_type().len() {
        let model = data.model();
        let (kind, limited) = (model.jnt_type()[joint], model.jnt_limited()[joint]);
        let (range, at) = (model.jnt_range()[joint], model.jnt_qposadr()[joint] as usize);
        let positions = &mut data.qpos_mut()[at..];
        match kind {
            MjtJoint::mjJNT_HINGE | MjtJoint::mjJNT_SLIDE if limited => {
                positions[0] = range[0] + (range[1] - range[0]) * rng.random::<f64>();
            }
            MjtJoint::mjJNT_HINGE => positions[0] = PI * (2.0 * rng.random::<f64>() - 1.0),
            MjtJoint::mjJNT_FREE => {
                positions[3..7].copy_from_slice(&unit(std::array::from_fn(|_| rng.random())))
            }
            // The three models have no ball joints.
            MjtJoint::mjJNT_SLIDE | MjtJoint::mjJNT_BALL => {}
        }
    }
}

/// A uniformly random rotation, as a quaternion.
pub fn orientation(rng: &mut impl Rng) -> [f64; 4] {
    unit(std::array::from_fn(|_| rng.sample(StandardNormal)))
}

fn unit(vector: [f64; 4]) -> [f64; 4] {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    vector.map(|x| x / length)
}
