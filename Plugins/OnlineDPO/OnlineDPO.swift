import KeelPlugin

/// Online direct preference optimization: the better of a prompt's responses against the worse, as rewards judge.
///
/// Guo et al. 2024, arXiv:2402.04792; for responses y_w, y_l that the policy itself has just written
///
///     h = log π(y_w)/π_ref(y_w) - log π(y_l)/π_ref(y_l)
///     L = -log σ(β h)          or, IPO,  (h - 1 / 2β)²            mean over pairs
///
/// Of more than two responses the best and the worst make the pair. A pair without a preference teaches nothing.
struct OnlineDPO: Objective, Preparing {
    static let name = "online_dpo"
    static let help = "DPO on pairs of the policy's own responses, ranked by the rewards."
    static let needs: Needs = [
        .rollouts, .seqLogprobs, .refSeqLogprobs, .mask, .rewards, .group, .optional(.finished),
    ]
    static let gives = ["pair_role", "weight"]
    static let coupled = true

    @Param("beta", "Strength of the pull towards the reference; a list has one for each epoch.")
    var beta: JSONValue = .number(0.1)
    @Param("loss_type", "The loss of a pair.") var lossType = LossType.sigmoid
    @Param("missing_eos_penalty", 0.0..., "Taken from the reward of a response that did not end.")
    var missingEOSPenalty = 0.0
    @Param("ties", "Equal rewards: drop the pair, or take the first as the better one.")
    var ties = Ties.drop

    enum LossType: String, CaseIterable { case sigmoid, ipo }
    enum Ties: String, CaseIterable { case drop, first }

    private var betas: [Double] = []

    mutating func setup(_ call: Call) throws {
        betas = beta.array.map { $0.compactMap(\.number) } ?? beta.number.map { [$0] } ?? []
        guard !betas.isEmpty, betas.count == beta.array?.count ?? 1,
            betas.allSatisfy({ $0 > 0 && $0.isFinite })
        else {
            throw PluginError(
                .invalid, "beta is \(beta.text), not a number above 0 or a list of such")
        }
    }

    // MARK: - Which two responses of each prompt

    func prepare(_ columns: Columns) throws {
        let rewards = try columns("rewards").values  // [batch]
        let group = try columns("group").values
        guard rewards.count < 2 || Set(group).count < group.count else {
            throw PluginError(
                .invalid,
                "online_dpo needs two responses to a prompt, but every prompt has one: num_generations"
            )
        }
        let finished = columns.has("finished") ? try columns("finished").values : nil
        var known = rewards
        if columns.has("weight") {
            for (row, weight) in try columns("weight").values.enumerated() where weight == 0 {
                known[row] = .nan
            }
        }
        let pairs = choosePairs(
            rewards: known, finished: finished, group: group, penalty: missingEOSPenalty,
            dropTies: ties == .drop)
        var role = rewards.map { _ in 0.0 }  // 1 chosen, -1 rejected
        for pair in pairs {
            (role[pair.chosen], role[pair.rejected]) = (1, -1)
            columns.metric("objective/scores_margin", known[pair.chosen] - known[pair.rejected])
        }
        try columns.put("pair_role", Column(role))
        try columns.put("weight", Column(role.map { $0 == 0 ? 0 : 1 }))
        let groups = Swift.max(1, Set(group).count)
        columns.metric("pairs/tied", 1 - Double(pairs.count) / Double(groups))
        if let finished {
            let ended = finished.reduce(0, +)
            columns.metric("val/contain_eos_token", ended / Double(Swift.max(1, finished.count)))
        }
    }

    // MARK: - The loss

    func loss(_ rows: Rows) throws -> Tensor {
        let pairs = try rowsOfPairs(rows)
        let index = { (list: [Int]) in rows.constant(Column(list.map(Double.init))).truncated() }
        let (chosen, rejected) = (index(pairs.map(\.chosen)), index(pairs.map(\.rejected)))
        let logratio = rows.seqLogprobs - rows.refSeqLogprobs  // [batch]
        let won = logratio.rows(chosen)  // [groups]
        let lost = logratio.rows(rejected)
        let h = won - lost

        let epoch = rows.call.fact("epoch")
        let beta = betas[Swift.min(epoch.isFinite ? Int(epoch) : 0, betas.count - 1)]
        try report(rows, pairs, beta)
        switch lossType {
        case .sigmoid: return -logSigmoid(beta * h)
        case .ipo: return (h - 1 / (2 * beta)).square()
        }
    }

    /// The rows of each group's pair, groups in the order in which they begin; without a pair its first row twice.
    private func rowsOfPairs(_ rows: Rows) throws -> [(chosen: Int, rejected: Int, isPair: Bool)] {
        let group = try rows.group.values().values
        let role = try rows.column("pair_role").values().values
        var place: [Double: Int] = [:]
        var pairs: [(chosen: Int, rejected: Int, isPair: Bool)] = []
        for row in group.indices {
            let at = place[group[row]] ?? pairs.count
            if at == pairs.count {
                place[group[row]] = at
                pairs.append((row, row, false))
            }
            if role[row] > 0 { (pairs[at].chosen, pairs[at].isPair) = (row, true) }
            if role[row] < 0 { pairs[at].rejected = row }
        }
        return pairs
    }

    private func report(
        _ rows: Rows, _ pairs: [(chosen: Int, rejected: Int, isPair: Bool)], _ beta: Double
    ) throws {
        let policy = try rows.seqLogprobs.values().values
        let ref = try rows.refSeqLogprobs.values().values
        rows.metric("beta", beta)
        for pair in pairs where pair.isPair {
            let good = beta * (policy[pair.chosen] - ref[pair.chosen])
            let bad = beta * (policy[pair.rejected] - ref[pair.rejected])
            rows.metric("rewards/chosen", good)
            rows.metric("rewards/rejected", bad)
            rows.metric("rewards/margins", good - bad)
            rows.metric("rewards/accuracies", good > bad ? 1 : 0)
            rows.metric("logps/chosen", policy[pair.chosen])
            rows.metric("logps/rejected", policy[pair.rejected])
        }
    }
}

/// What the host asks for when it loads the plugin.
@c(keel_plugin_v1)
public func entry() -> UnsafePointer<keel_plugin>? {
    plugin("keel.online-dpo", "1.0.0", OnlineDPO.self)
}
