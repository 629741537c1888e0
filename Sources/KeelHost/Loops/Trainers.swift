import KeelCore
import KeelModel

/// One part of a run with its optimizer, peak learning rate and norm clip (decision 3).
final class Trainer {
    let part: Part
    let optimizer: AdamW
    let learningRate: Double
    /// nil = no clipping.
    let maxGradNorm: Double?

    init(_ part: Part, _ optimizer: AdamW, learningRate: Double, maxGradNorm: Double?) {
        self.part = part
        self.optimizer = optimizer
        self.learningRate = learningRate
        self.maxGradNorm = maxGradNorm
    }

    /// The file of the moments in a checkpoint.
    var file: String {
        part == .policy ? "optimizer.safetensors" : "optimizer.\(part.rawValue).safetensors"
    }
}

/// The trainers of a run, for all its phases; moments live on from phase to phase.
final class Trainers {
    /// In the order of `Part`.
    let all: [Trainer]

    init(_ all: [Trainer]) {
        self.all = all
    }

    /// Those that a config gives the parts of a run.
    ///
    /// The value head is trained without weight decay.
    convenience init(_ networks: Networks, _ parts: Set<Part>, _ config: RunConfig) {
        let train = config.train
        self.init(
            Part.allCases.filter(parts.contains).map { part in
                let own: (rate: Double?, norm: Double?) =
                    switch part {
                    case .policy: (nil, nil)
                    case .critic: (config.critic.learningRate, config.critic.maxGradNorm)
                    case .valueHead: (config.valueHead.learningRate, config.valueHead.maxGradNorm)
                    case .rewardHead:
                        (config.rewardHead.learningRate, config.rewardHead.maxGradNorm)
                    }
                let norm = own.norm ?? train.maxGradNorm
                let optimizer = AdamW(
                    networks.parameters(of: part), beta1: train.adamBeta1, beta2: train.adamBeta2,
                    eps: train.adamEpsilon,
                    weightDecay: part == .valueHead ? 0 : train.weightDecay)
                // Now, so that they do not stand between the activations of the first step.
                for parameter in optimizer.parameters { _ = parameter.gradient }
                return Trainer(
                    part, optimizer, learningRate: own.rate ?? train.learningRate,
                    maxGradNorm: norm > 0 ? norm : nil)
            })
    }

    subscript(part: Part) -> Trainer? { all.first { $0.part == part } }

    /// Optimizer steps of all trainers together.
    var stepCount: Int { all.reduce(0) { $0 + $1.optimizer.stepCount } }

    /// Leaves gradients to some parts alone.
    func enable(_ parts: [Part]) {
        for trainer in all {
            for parameter in trainer.optimizer.parameters {
                parameter.isTrained = parts.contains(trainer.part)
            }
        }
    }

    /// Writes the moments of everything that has been trained so far.
    func save(to folder: String) throws {
        for trainer in all where trainer.optimizer.stepCount > 0 || trainer.part == .policy {
            try trainer.optimizer.save(to: Files.join(folder, trainer.file))
        }
    }

    /// Reads what `save` wrote; what had not been trained starts afresh.
    func load(from folder: String) throws {
        for trainer in all {
            let path = Files.join(folder, trainer.file)
            if Files.exists(path) || trainer.part == .policy {
                try trainer.optimizer.load(from: path)
            }
        }
    }
}
