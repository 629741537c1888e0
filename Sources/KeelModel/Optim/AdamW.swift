import Glibc
import KeelCore
import KeelTensor

/// AdamW with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).
///
///     p -= lr * wd * p
///     m = beta1 m + (1 - beta1) g      v = beta2 v + (1 - beta2) g^2
///     p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
package final class AdamW {
    /// Parameters with settings of their own.
    package struct Group {
        package var parameters: [Parameter]
        /// Decoupled: times the learning rate.
        package var weightDecay: Double
        /// Times the step's learning rate.
        package var learningRateScale: Double

        /// Parameters that decay alike.
        package init(_ parameters: [Parameter], weightDecay: Double, learningRateScale: Double = 1)
        {
            self.parameters = parameters
            self.weightDecay = weightDecay
            self.learningRateScale = learningRateScale
        }
    }

    /// In the order of the state.
    package let groups: [Group]
    package let beta1: Double
    package let beta2: Double
    package let eps: Double
    /// Steps taken.
    package private(set) var stepCount = 0

    /// Moments, in the order of `parameters`.
    private var first: [Tensor] = []
    private var second: [Tensor] = []
    /// Nobody has written to them yet: they are zero.
    private var areMomentsFresh = true

    /// Moments start at zero.
    package init(groups: [Group], beta1: Double = 0.9, beta2: Double = 0.999, eps: Double = 1e-8) {
        self.groups = groups
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        for parameter in parameters {
            first.append(AdamW.zeros(like: parameter.master))
            second.append(AdamW.zeros(like: parameter.master))
        }
    }

    private static func zeros(like master: Tensor) -> Tensor {
        Tensor(zeros: master.shape, dtype: master.dtype, device: master.device)
    }

    /// Two groups: decay on tensors of two or more axes, none on norms and biases.
    package convenience init(
        _ parameters: [Parameter], beta1: Double = 0.9, beta2: Double = 0.999, eps: Double = 1e-8,
        weightDecay: Double = 0
    ) {
        let trained = parameters.filter(\.isTrained)
        self.init(
            groups: [
                Group(trained.filter { $0.shape.count >= 2 }, weightDecay: weightDecay),
                Group(trained.filter { $0.shape.count < 2 }, weightDecay: 0),
            ], beta1: beta1, beta2: beta2, eps: eps)
    }

    /// Those of all groups.
    package var parameters: [Parameter] { groups.flatMap(\.parameters) }

    /// The L2 norm of all gradients together.
    package func gradientNorm() -> Double {
        Optim.squaredNorm(parameters.map(\.gradient)).squareRoot()
    }

    /// One step along the gradients, which stay as they are.
    ///
    /// - Parameters:
    ///   - learningRate: of this step; groups scale it.
    ///   - maxGradNorm: gradients whose norm exceeds it count as scaled down to it, as torch's
    ///     `clip_grad_norm_`: by max / (norm + 1e-6). nil or 0 = no clipping.
    /// - Returns: the norm before clipping. When it is not finite nothing is changed and no step counted.
    @discardableResult
    package func step(learningRate: Double, maxGradNorm: Double? = nil) -> Double {
        let norm = gradientNorm()
        guard norm.isFinite else { return norm }
        var scale = 1.0
        if let maxGradNorm, maxGradNorm > 0 { scale = min(1, maxGradNorm / (norm + 1e-6)) }
        stepCount += 1
        var items: [Optim.Parameter] = []
        var at = 0
        for group in groups {
            let range = at..<at + group.parameters.count
            at = range.upperBound
            let lr = learningRate * group.learningRateScale
            items += zip(group.parameters, range).map { parameter, i in
                parameter.beginWriting()
                return Optim.Parameter(
                    master: parameter.master, gradient: parameter.gradient, m: first[i],
                    v: second[i],
                    lowPrecision: parameter.compute.dtype == parameter.master.dtype
                        ? nil : parameter.compute,
                    lr: lr, weightDecay: group.weightDecay)
            }
        }
        Optim.adamW(
            items, beta1: beta1, beta2: beta2, eps: eps, step: stepCount, scale: scale,
            areMomentsFresh: areMomentsFresh)
        areMomentsFresh = false
        return norm
    }

    /// As before the first step: moments of zero, no step counted.
    package func reset() {
        for moments in [first, second] {
            for tensor in moments {
                tensor.copy(
                    from: Tensor(zeros: tensor.shape, dtype: tensor.dtype, device: tensor.device))
            }
        }
        stepCount = 0
    }

    // MARK: State

    /// Writes moments and step count as a safetensors file.
    ///
    /// - Throws: `KeelError` (io, cannotCreate).
    package func save(to path: String) throws {
        var items: [SafetensorsWriter.Item] = []
        for (i, parameter) in parameters.enumerated() {
            items.append(.init("exp_avg.\(parameter.name)", first[i]))
            items.append(.init("exp_avg_sq.\(parameter.name)", second[i]))
        }
        try SafetensorsWriter.write(
            path, items,
            metadata: ["format": "pt", "keel_optimizer": "adamw", "step": .string("\(stepCount)")])
    }

    /// Reads what `save` wrote, exactly.
    ///
    /// - Throws: `KeelError`: `noInput` for a missing file, `badData` when it belongs to other parameters.
    package func load(from path: String) throws {
        let file = try SafetensorsFile(path)
        guard let text = file.metadata["step"]?.string, let step = Int(text), step >= 0,
            file.metadata["keel_optimizer"]?.string == "adamw"
        else {
            throw KeelError(
                "checkpoint", "not an optimizer state of Keel's AdamW", at: path, code: .badData)
        }
        areMomentsFresh = false
        var loaded: [(Tensor, Tensor)] = []
        for parameter in parameters {
            func moment(_ kind: String) throws -> Tensor {
                let name = "\(kind).\(parameter.name)"
                guard let entry = file[name], entry.shape == parameter.shape else {
                    throw KeelError(
                        "checkpoint",
                        "the optimizer state has no \(name) of shape \(parameter.shape)", at: path,
                        fix: "the state belongs to another model", code: .badData)
                }
                return try file.tensor(
                    entry, dtype: parameter.master.dtype, device: parameter.master.device)
            }
            loaded.append((try moment("exp_avg"), try moment("exp_avg_sq")))
        }
        for (i, moments) in loaded.enumerated() {
            first[i].copy(from: moments.0)
            second[i].copy(from: moments.1)
        }
        stepCount = step
    }
}
