//! AdamW as PyTorch computes it, with its state by parameter name.

use std::collections::BTreeMap;

use tch::{Tensor, no_grad};

/// Hyperparameters of AdamW.
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    pub learning_rate: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub epsilon: f64,
    pub weight_decay: f64,
}

/// Optimizer state of one parameter. A parameter that never had a gradient has none.
pub struct Moments {
    /// Moving average of the gradient.
    pub exp_avg: Tensor,
    /// Moving average of the squared gradient.
    pub exp_avg_sq: Tensor,
    pub step: f64,
}

impl AdamW {
    /// Updates parameters in place, except those with an undefined gradient.
    pub fn step(
        &self,
        state: &mut BTreeMap<String, Moments>,
        parameters: &[(String, Tensor)],
        gradients: &[Tensor],
    ) {
        no_grad(|| {
            for ((name, parameter), gradient) in parameters.iter().zip(gradients) {
                if !gradient.defined() {
                    continue;
                }
                let moments = state.entry(name.clone()).or_insert_with(|| Moments {
                    exp_avg: parameter.zeros_like(),
                    exp_avg_sq: parameter.zeros_like(),
                    step: 0.0,
                });
                self.update(parameter, gradient, moments);
            }
        });
    }

    fn update(&self, parameter: &Tensor, gradient: &Tensor, moments: &mut Moments) {
        let mut parameter = parameter.shallow_clone();
        moments.step += 1.0;
        if self.weight_decay != 0.0 {
            parameter *= 1.0 - self.learning_rate * self.weight_decay;
        }
        let _ = moments.exp_avg.lerp_(gradient, 1.0 - self.beta1);
        let _ = moments.exp_avg_sq.lerp_(&gradient.square(), 1.0 - self.beta2);
        let correction1 = 1.0 - self.beta1.powf(moments.step);
        let correction2 = 1.0 - self.beta2.powf(moments.step);
        // Without a learning rate nothing moves, and the rest divides by it.
        if self.learning_rate < f64::from(f32::MIN_POSITIVE) {
            return;
        }
        // The fewest passes over memory that libtorch's operations allow: the denominator contains step size and sign.
        let scale = -correction1 / self.learning_rate;
        let mut denominator = moments.exp_avg_sq.sqrt();
        denominator *= scale / correction2.sqrt();
        denominator += scale * self.epsilon;
        let _ = parameter.addcdiv_(&moments.exp_avg, &denominator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_steps_match_plain_arithmetic() {
        let adam = AdamW { learning_rate: 0.1, beta1: 0.5, beta2: 0.9, epsilon: 1e-4, weight_decay: 0.01 };
        let parameter = Tensor::from_slice(&[1.0f64, -2.0]);
        let parameters = [("p".to_owned(), parameter.shallow_clone())];
        let mut state = BTreeMap::new();
        let mut expected = [(1.0f64, 0.0f64, 0.0f64), (-2.0, 0.0, 0.0)];
        for (step, gradients) in [[0.3, -0.7], [-0.2, 0.1], [0.5, 0.4]].iter().enumerate() {
            adam.step(&mut state, &parameters, &[Tensor::from_slice(gradients)]);
            for ((p, m, v), g) in expected.iter_mut().zip(gradients) {
                let t = step as i32 + 1;
                *p *= 1.0 - 0.1 * 0.01;
                *m = 0.5 * *m + 0.5 * g;
                *v = 0.9 * *v + 0.1 * g * g;
                let (m_hat, v_hat) = (*m / (1.0 - 0.5f64.powi(t)), *v / (1.0 - 0.9f64.powi(t)));
                *p -= 0.1 * m_hat / (v_hat.sqrt() + 1e-4);
            }
        }
        for (i, (p, ..)) in expected.iter().enumerate() {
            assert!((parameter.double_value(&[i as i64]) - p).abs() < 1e-12);
        }
        assert_eq!(state["p"].step, 3.0);
    }

    #[test]
    fn zero_learning_rate_moves_nothing() {
        let adam = AdamW { learning_rate: 0.0, beta1: 0.0, beta2: 0.9, epsilon: 0.0, weight_decay: 0.1 };
        let parameter = Tensor::from_slice(&[1.0f64, 2.0]);
        let mut state = BTreeMap::new();
        let gradients = [Tensor::from_slice(&[0.0f64, 3.0])];
        adam.step(&mut state, &[("p".to_owned(), parameter.shallow_clone())], &gradients);
        assert_eq!(Vec::<f64>::try_from(&parameter).unwrap(), [1.0, 2.0]);
        assert_eq!(state["p"].step, 1.0);
    }

    #[test]
    fn parameter_without_gradient_has_no_state() {
        let adam = AdamW { learning_rate: 0.1, beta1: 0.0, beta2: 0.9, epsilon: 1e-4, weight_decay: 0.1 };
        let parameter = Tensor::from_slice(&[1.0f64]);
        let mut state = BTreeMap::new();
        adam.step(&mut state, &[("p".to_owned(), parameter.shallow_clone())], &[Tensor::new()]);
        assert!(state.is_empty());
        assert_eq!(parameter.double_value(&[0]), 1.0);
    }
}
