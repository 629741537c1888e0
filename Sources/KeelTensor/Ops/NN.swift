/// The fused operations a language model is made of: f32 and bf16 (f64 for gradient checks), each
/// with its backward pass.
///
/// Statistics and weight gradients are f32 (f64 under f64).
package enum NN {}
