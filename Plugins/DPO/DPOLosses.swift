import Glibc
import KeelPlugin

/// One response of a pair: `[batch]` each.
struct Side {
    /// log πθ(y|x).
    var policy: Tensor
    /// log π_ref(y|x).
    var ref: Tensor
    /// Trained tokens.
    var length: Tensor
}

/// A pair as the losses read it: u = log πθ/π_ref of each response, `[batch]`.
struct PairScores {
    var beta: Double
    var smoothing: Double
    var chosen: Tensor
    var rejected: Tensor
    var sides: (chosen: Side, rejected: Side)

    /// d = u_w - u_l.
    var delta: Tensor { chosen - rejected }

    /// -(1-ε) log σ(βd) - ε log σ(-βd).
    func smoothed(_ delta: Tensor) -> Tensor {
        let z = beta * delta
        guard smoothing > 0 else { return -logSigmoid(z) }
        return -(1 - smoothing) * logSigmoid(z) - smoothing * logSigmoid(-z)
    }
}

/// The loss of a pair as a function of d, u_w, u_l; the names are TRL's.
enum PairLoss: String, CaseIterable {
    case sigmoid, robust, hinge, ipo, discopop, aot, sft
    case bcoPair = "bco_pair"
    case ncaPair = "nca_pair"
    case sppoHard = "sppo_hard"
    case apoZero = "apo_zero"
    case apoDown = "apo_down"
    case exoPair = "exo_pair"
    case aotUnpaired = "aot_unpaired"
}

extension PairScores {
    /// The loss of each pair: `[batch]`.
    func loss(_ kind: PairLoss) -> Tensor {
        let eps = smoothing
        let (won, lost) = (beta * chosen, beta * rejected)  // the implied rewards
        let z = beta * delta
        switch kind {
        case .sigmoid:  // Rafailov et al. 2023; with smoothing Mitchell 2023, cDPO
            return smoothed(delta)
        case .robust:  // Chowdhury et al. 2024: unbiased when labels are flipped with probability ε
            return (eps * logSigmoid(-z) - (1 - eps) * logSigmoid(z)) / (1 - 2 * eps)
        case .hinge:  // Zhao et al. 2023, SLiC: max(0, 1 - βd)
            return relu(1 - z)
        case .ipo:  // Azar et al. 2023, equation 17: (d - 1/2β)²
            return (delta - 1 / (2 * beta)).square()
        case .bcoPair:  // Jung et al. 2024, without the running mean
            return -logSigmoid(won) - logSigmoid(-lost)
        case .ncaPair:  // Chen et al. 2024, noise contrastive alignment
            return -logSigmoid(won) - 0.5 * logSigmoid(-won) - 0.5 * logSigmoid(-lost)
        case .sppoHard:  // Wu et al. 2024, self-play with hard probabilities
            return (chosen - 0.5 / beta).square() + (rejected + 0.5 / beta).square()
        case .apoZero:  // D'Oosterlinck et al. 2024: chosen up, rejected down
            return 1 - sigmoid(won) + sigmoid(lost)
        case .apoDown:  // chosen down, rejected further down
            return sigmoid(won) + 1 - sigmoid(z)
        case .discopop:  // Lu et al. 2024: logistic and exponential loss, mixed by σ(z/τ), τ = 0.05
            let logistic = -logSigmoid(z) * sigmoid(-20 * z)
            return logistic + exp(logSigmoid(20 * z) - z)  // σ(z/τ) e^-z without overflow
        case .exoPair:  // Ji et al. 2024: KL from the model's preference to the smoothed label
            return sigmoid(z) * (logSigmoid(z) - Glibc.log1p(-eps)) + sigmoid(-z)
                * (logSigmoid(-z) - Glibc.log(eps))
        case .aot:  // Melnyk et al. 2024: quantiles of the log-ratios, within the micro-batch
            let policy = (sides.chosen.policy - sides.rejected.policy).sorted(axis: 0)
            let ref = (sides.chosen.ref - sides.rejected.ref).sorted(axis: 0)
            return smoothed(policy - ref)
        case .aotUnpaired:
            return smoothed(chosen.sorted(axis: 0) - rejected.sorted(axis: 0))
        case .sft:  // the likelihood term of RPO: the token mean of the chosen response
            return -sides.chosen.policy / sides.chosen.length.clamped(1, .infinity)
        }
    }
}

/// The f-divergence that the implied reward belongs to (Wang et al., arXiv:2309.16240).
enum FDivergence: String, CaseIterable {
    case reverseKL = "reverse_kl"
    case forwardKL = "forward_kl"
    case js

    /// f'(π/π_ref) without its constant, from u = log π/π_ref.
    func score(_ logratio: Tensor) -> Tensor {
        switch self {
        case .reverseKL: logratio
        case .forwardKL: -exp(-logratio)
        case .js: logSigmoid(logratio)
        }
    }
}
