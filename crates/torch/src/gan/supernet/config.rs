//! The section `[gan.supernet]`.

use serde::{Deserialize, Serialize};

/// Settings of the supernet of `algorithm = "adversarial-nas"`. Defaults are the paper's (facts: AdversarialNAS) and,
/// for the epochs, those of the published code, at widths that can be trained on a CPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SupernetConfig {
    /// Epochs of the supernet, with which the search begins.
    pub epochs: u32,
    /// Channels in the supernet's generator.
    pub generator_width: usize,
    /// Channels in the supernet's discriminator.
    pub discriminator_width: usize,
    /// Real images in a step: one half for the discriminator's weights, the other for its architecture.
    pub batch: usize,
    /// Generated images in a generator step, as many for the weights as for the architecture.
    pub generator_batch: usize,
    /// Temperature of the Gumbel-softmax in the first epoch.
    pub first_temperature: f64,
    /// Temperature after the last epoch; it falls exponentially.
    pub last_temperature: f64,
    /// Learning rate of Adam for the architecture parameters of both networks.
    pub learning_rate: f64,
    /// Decay of that Adam's first moment.
    pub beta1: f64,
    /// Decay of that Adam's second moment.
    pub beta2: f64,
    /// L2 penalty on the architecture parameters, added to the gradient.
    pub weight_decay: f64,
}

impl Default for SupernetConfig {
    fn default() -> Self {
        Self {
            epochs: 25,
            generator_width: 20,
            discriminator_width: 20,
            batch: 120,
            generator_batch: 120,
            first_temperature: 5.0,
            last_temperature: 0.1,
            learning_rate: 3e-4,
            beta1: 0.5,
            beta2: 0.999,
            weight_decay: 1e-4,
        }
    }
}

impl SupernetConfig {
    /// The temperature of an epoch, counted from 0.
    pub fn temperature(&self, epoch: u32) -> f64 {
        let decay = (self.first_temperature / self.last_temperature).ln() / f64::from(self.epochs.max(1));
        (self.first_temperature * (-decay * f64::from(epoch)).exp()).max(self.last_temperature)
    }

    /// Fails with the key of the first invalid value and the reason.
    pub fn first_bad_value(&self) -> Result<(), (&'static str, String)> {
        for (key, value, least, most) in [
            ("epochs", self.epochs as usize, 1, 1 << 30),
            ("generator_width", self.generator_width, 1, 4096),
            ("discriminator_width", self.discriminator_width, 1, 4096),
            ("batch", self.batch, 2, 1 << 16),
            ("generator_batch", self.generator_batch, 1, 1 << 16),
        ] {
            if value < least || value > most {
                return Err((key, format!("must be between {least} and {most}")));
            }
        }
        if !self.batch.is_multiple_of(2) {
            return Err((
                "batch",
                "must be even: one half trains the weights, the other the architecture".into(),
            ));
        }
        let falls = self.last_temperature > 0.0 && self.first_temperature >= self.last_temperature;
        if !(falls && self.first_temperature.is_finite()) {
            return Err((
                "first_temperature",
                "must not be less than last_temperature, and both more than 0".into(),
            ));
        }
        for (key, decay) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&decay) {
                return Err((key, "must be at least 0 and less than 1".into()));
            }
        }
        for (key, number) in [("learning_rate", self.learning_rate), ("weight_decay", self.weight_decay)] {
            if !(number >= 0.0 && number.is_finite()) {
                return Err((key, "must be a number that is not negative".into()));
            }
        }
        Ok(())
    }
}
