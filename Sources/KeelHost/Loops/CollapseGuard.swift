import KeelCore

/// Watches the roll-outs of an online phase for a collapse, and for rewards that teach nothing.
///
/// A roll-out looks collapsed when the policy has gone far from the reference (`collapse_kl` per token), nearly all
/// completions are cut at the length limit, or all prompts get the same few completions. `collapse_patience` of them in a
/// row are a collapse: `train.on_collapse` says whether that is a warning, or the end of the run with a checkpoint.
struct CollapseGuard {
    private let train: TrainConfig
    /// Roll-outs in a row with each sign.
    private var counts: [Sign: Int] = [:]
    /// What has been warned of.
    private var told: Set<Sign> = []

    /// Signs of a collapse, and of rewards that teach nothing.
    enum Sign: String, CaseIterable {
        case kl, length, sameness
        case equalRewards = "equal_rewards"
        case cut

        var isCollapse: Bool { self == .kl || self == .length || self == .sameness }
    }

    /// Below it, the share of different completions says nothing.
    private static let leastCompletions = 16
    /// Roll-outs in a row after which a sign that is no collapse is told.
    private static let patience = 5

    init(_ train: TrainConfig) {
        self.train = train
    }

    private func has(_ sign: Sign, _ health: RolloutHealth) -> Bool {
        switch sign {
        case .kl: health.tokenKL > train.collapseKL
        case .length: health.clippedRatio > train.collapseClippedRatio
        case .sameness:
            health.completions >= CollapseGuard.leastCompletions
                && health.uniqueRatio < train.collapseUniqueRatio
        case .equalRewards: health.zeroStdRatio > 0.9
        case .cut: health.clippedRatio > 0.5
        }
    }

    private func text(_ sign: Sign, _ health: RolloutHealth) -> String {
        let percent = { (share: Double) in "\(Int((100 * share).rounded())) %" }
        switch sign {
        case .kl:
            return
                "the policy is \(rounded(health.tokenKL)) nats per token away from the reference (collapse_kl \(train.collapseKL))"
        case .length:
            return
                "\(percent(health.clippedRatio)) of completions are cut at the length limit (collapse_clipped_ratio \(train.collapseClippedRatio))"
        case .sameness:
            return
                "only \(percent(health.uniqueRatio)) of completions differ (collapse_unique_ratio \(train.collapseUniqueRatio))"
        case .equalRewards:
            return
                "in \(percent(health.zeroStdRatio)) of groups all rewards are equal: they teach nothing; other prompts, more completions per prompt or a finer reward would"
        case .cut:
            return
                "\(percent(health.clippedRatio)) of completions are cut at the length limit: their reward is that of half a text; raise data.max_completion_length"
        }
    }

    private func rounded(_ x: Double) -> Double { (100 * x).rounded() / 100 }

    /// Looks at a roll-out, before anything is learnt from it.
    ///
    /// - Throws: `KeelError` (stopped) for a collapse, where the config says so.
    mutating func look(at health: RolloutHealth, step: Int) throws {
        for sign in Sign.allCases {
            counts[sign] = has(sign, health) ? (counts[sign] ?? 0) + 1 : 0
        }
        for sign in Sign.allCases where !sign.isCollapse && !told.contains(sign) {
            guard counts[sign] ?? 0 >= CollapseGuard.patience else { continue }
            told.insert(sign)
            Log.warning("step \(step + 1): \(text(sign, health))")
        }
        guard train.onCollapse != .off else { return }
        let signs = Sign.allCases.filter {
            $0.isCollapse && counts[$0] ?? 0 >= train.collapsePatience
        }
        guard !signs.isEmpty else { return }
        let found = signs.map { text($0, health) }.joined(separator: "; ")
        let count = signs.map { counts[$0] ?? 0 }.max() ?? 0
        let what = "the policy has collapsed, \(count) roll-outs in a row: \(found)"
        if train.onCollapse == .stop {
            throw KeelError(
                "train", what, at: "step \(step + 1)",
                fix: "raise the KL's weight or lower the learning rate; to go on as it is: "
                    + "--resume auto --set train.on_collapse=warn", code: .stopped)
        }
        guard !told.isSuperset(of: signs) else { return }
        told.formUnion(signs)
        Log.warning("step \(step + 1): \(what)")
    }

    // MARK: - State

    var json: JSON {
        [
            "counts": .object(
                JSONObject(
                    pairs: Sign.allCases.map { ($0.rawValue, JSON(counts[$0] ?? 0)) })),
            "told": .array(
                Sign.allCases.filter(told.contains).map { .string($0.rawValue) }),
        ]
    }

    mutating func restore(_ state: JSON?) {
        for sign in Sign.allCases { counts[sign] = state?["counts"]?[sign.rawValue]?.int ?? 0 }
        told = Set((state?["told"]?.array ?? []).compactMap { $0.string.flatMap(Sign.init) })
    }
}
